using Microsoft.EntityFrameworkCore.Migrations;

#nullable disable

namespace Migrations.Migrations
{
    /// <inheritdoc />
    public partial class MinuteSamples : Migration
    {
        /// <inheritdoc />
        protected override void Up(MigrationBuilder migrationBuilder) =>
            // How many samples a minute has of an incarnation. More than one each second: a clock was set back, and two times lie mixed in it. Of what is older nobody knows.
            migrationBuilder.Sql("ALTER TABLE fault_minutes ADD COLUMN samples integer NOT NULL DEFAULT 0;");

        /// <inheritdoc />
        protected override void Down(MigrationBuilder migrationBuilder) => migrationBuilder.Sql("ALTER TABLE fault_minutes DROP COLUMN samples;");
    }
}

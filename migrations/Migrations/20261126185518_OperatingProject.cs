using Microsoft.EntityFrameworkCore.Migrations;

#nullable disable

namespace Migrations.Migrations
{
    /// <inheritdoc />
    public partial class OperatingProject : Migration
    {
        /// <inheritdoc />
        protected override void Up(MigrationBuilder migrationBuilder)
        {
            migrationBuilder.AddColumn<bool>(
                name: "operates",
                table: "projects",
                type: "boolean",
                nullable: false,
                defaultValue: false);

            // Until now there was one project, whoever's it was.
            migrationBuilder.Sql("UPDATE projects SET operates = true WHERE name = 'default'");

            migrationBuilder.CreateIndex(
                name: "ix_projects_operating",
                table: "projects",
                column: "operates",
                unique: true,
                filter: "operates");
        }

        /// <inheritdoc />
        protected override void Down(MigrationBuilder migrationBuilder)
        {
            migrationBuilder.DropIndex(
                name: "ix_projects_operating",
                table: "projects");

            migrationBuilder.DropColumn(
                name: "operates",
                table: "projects");
        }
    }
}

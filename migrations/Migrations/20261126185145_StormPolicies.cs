using Microsoft.EntityFrameworkCore.Migrations;

#nullable disable

namespace Migrations.Migrations
{
    /// <inheritdoc />
    public partial class StormPolicies : Migration
    {
        /// <inheritdoc />
        protected override void Up(MigrationBuilder migrationBuilder)
        {
            migrationBuilder.AddColumn<string>(
                name: "fault_storm",
                table: "sandboxes",
                type: "jsonb",
                nullable: true);

            migrationBuilder.AddColumn<int>(
                name: "storm_quarantine_of",
                table: "sandboxes",
                type: "integer",
                nullable: true);
        }

        /// <inheritdoc />
        protected override void Down(MigrationBuilder migrationBuilder)
        {
            migrationBuilder.DropColumn(
                name: "fault_storm",
                table: "sandboxes");

            migrationBuilder.DropColumn(
                name: "storm_quarantine_of",
                table: "sandboxes");
        }
    }
}

using System;
using Microsoft.EntityFrameworkCore.Migrations;

#nullable disable

namespace Migrations.Migrations
{
    /// <inheritdoc />
    public partial class QueueAndRules : Migration
    {
        /// <inheritdoc />
        protected override void Up(MigrationBuilder migrationBuilder)
        {
            migrationBuilder.AddColumn<int>(
                name: "priority",
                table: "sandboxes",
                type: "integer",
                nullable: false,
                defaultValue: 0);

            migrationBuilder.AddColumn<DateTimeOffset>(
                name: "queued_at",
                table: "sandboxes",
                type: "timestamp with time zone",
                nullable: false,
                // Not of the model: for replicas that do not know the column yet.
                defaultValueSql: "now()");

            migrationBuilder.Sql("UPDATE sandboxes SET queued_at = updated_at");

            migrationBuilder.AddColumn<string>(
                name: "rules",
                table: "sandboxes",
                type: "jsonb",
                nullable: true);

            migrationBuilder.AddColumn<int>(
                name: "max_priority",
                table: "projects",
                type: "integer",
                nullable: false,
                defaultValue: 0);

            migrationBuilder.Sql("UPDATE projects SET max_priority = 100 WHERE operates");

            migrationBuilder.AddColumn<string>(
                name: "verdict_class",
                table: "devices",
                type: "text",
                nullable: true,
                computedColumnSql: "verdict ->> 'class'",
                stored: true);

            migrationBuilder.AddCheckConstraint(
                name: "ck_sandboxes_priority",
                table: "sandboxes",
                sql: "priority BETWEEN -100 AND 100");
        }

        /// <inheritdoc />
        protected override void Down(MigrationBuilder migrationBuilder)
        {
            migrationBuilder.DropCheckConstraint(
                name: "ck_sandboxes_priority",
                table: "sandboxes");

            migrationBuilder.DropColumn(
                name: "verdict_class",
                table: "devices");

            migrationBuilder.DropColumn(
                name: "priority",
                table: "sandboxes");

            migrationBuilder.DropColumn(
                name: "queued_at",
                table: "sandboxes");

            migrationBuilder.DropColumn(
                name: "rules",
                table: "sandboxes");

            migrationBuilder.DropColumn(
                name: "max_priority",
                table: "projects");
        }
    }
}

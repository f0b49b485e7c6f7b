using System;
using Microsoft.EntityFrameworkCore.Migrations;

#nullable disable

namespace Migrations.Migrations
{
    /// <inheritdoc />
    public partial class Preemption : Migration
    {
        /// <inheritdoc />
        protected override void Up(MigrationBuilder migrationBuilder)
        {
            migrationBuilder.AddColumn<DateTimeOffset>(
                name: "preempt_at",
                table: "sandboxes",
                type: "timestamp with time zone",
                nullable: true);

            migrationBuilder.AddColumn<Guid>(
                name: "preempted_for",
                table: "sandboxes",
                type: "uuid",
                nullable: true);

            migrationBuilder.CreateIndex(
                name: "ix_sandboxes_preempted_for",
                table: "sandboxes",
                column: "preempted_for",
                filter: "preempted_for IS NOT NULL");
        }

        /// <inheritdoc />
        protected override void Down(MigrationBuilder migrationBuilder)
        {
            migrationBuilder.DropIndex(
                name: "ix_sandboxes_preempted_for",
                table: "sandboxes");

            migrationBuilder.DropColumn(
                name: "preempt_at",
                table: "sandboxes");

            migrationBuilder.DropColumn(
                name: "preempted_for",
                table: "sandboxes");
        }
    }
}

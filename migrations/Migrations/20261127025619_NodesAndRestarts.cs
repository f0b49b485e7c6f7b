using System;
using Microsoft.EntityFrameworkCore.Migrations;

#nullable disable

namespace Migrations.Migrations
{
    /// <inheritdoc />
    public partial class NodesAndRestarts : Migration
    {
        /// <inheritdoc />
        protected override void Up(MigrationBuilder migrationBuilder)
        {
            migrationBuilder.DropCheckConstraint(
                name: "ck_sandboxes_placed",
                table: "sandboxes");

            migrationBuilder.AddColumn<DateTimeOffset>(
                name: "idle_warned_for",
                table: "sandboxes",
                type: "timestamp with time zone",
                nullable: true);

            migrationBuilder.AddColumn<DateTimeOffset>(
                name: "last_activity_at",
                table: "sandboxes",
                type: "timestamp with time zone",
                nullable: true);

            migrationBuilder.AddColumn<int>(
                name: "lease_idle_timeout_seconds",
                table: "sandboxes",
                type: "integer",
                nullable: true);

            migrationBuilder.AddColumn<bool>(
                name: "moves_after_stop",
                table: "sandboxes",
                type: "boolean",
                nullable: false,
                defaultValue: false);

            migrationBuilder.AddColumn<string>(
                name: "restart",
                table: "sandboxes",
                type: "jsonb",
                nullable: true);

            migrationBuilder.AddColumn<DateTimeOffset>(
                name: "restart_at",
                table: "sandboxes",
                type: "timestamp with time zone",
                nullable: true);

            migrationBuilder.AddColumn<int>(
                name: "restart_count",
                table: "sandboxes",
                type: "integer",
                nullable: false,
                defaultValue: 0);

            migrationBuilder.AddColumn<Guid>(
                name: "told_drain",
                table: "sandboxes",
                type: "uuid",
                nullable: true);

            migrationBuilder.AddColumn<string>(
                name: "drain",
                table: "nodes",
                type: "jsonb",
                nullable: true);

            migrationBuilder.AddColumn<DateTimeOffset>(
                name: "maintenance_since",
                table: "nodes",
                type: "timestamp with time zone",
                nullable: true);

            migrationBuilder.AddColumn<byte[]>(
                name: "next_token_sha256",
                table: "nodes",
                type: "bytea",
                nullable: true);

            migrationBuilder.AddColumn<DateTimeOffset>(
                name: "next_token_until",
                table: "nodes",
                type: "timestamp with time zone",
                nullable: true);

            migrationBuilder.AddColumn<string>(
                name: "refusal",
                table: "nodes",
                type: "jsonb",
                nullable: true);

            migrationBuilder.AddColumn<DateTimeOffset>(
                name: "rotation_wanted_at",
                table: "nodes",
                type: "timestamp with time zone",
                nullable: true);

            migrationBuilder.CreateTable(
                name: "retired_node_tokens",
                columns: table => new
                {
                    token_sha256 = table.Column<byte[]>(type: "bytea", nullable: false),
                    node_id = table.Column<Guid>(type: "uuid", nullable: false),
                    node_name = table.Column<string>(type: "character varying(63)", maxLength: 63, nullable: false),
                    code = table.Column<string>(type: "character varying(64)", maxLength: 64, nullable: false),
                    at = table.Column<DateTimeOffset>(type: "timestamp with time zone", nullable: false)
                },
                constraints: table =>
                {
                    table.PrimaryKey("pk_retired_node_tokens", x => x.token_sha256);
                });

            migrationBuilder.CreateIndex(
                name: "ix_sandboxes_idle_lease",
                table: "sandboxes",
                column: "last_activity_at",
                filter: "lease_idle_timeout_seconds IS NOT NULL");

            migrationBuilder.CreateIndex(
                name: "ix_sandboxes_restart_at",
                table: "sandboxes",
                column: "restart_at",
                filter: "restart_at IS NOT NULL");

            migrationBuilder.AddCheckConstraint(
                name: "ck_sandboxes_placed",
                table: "sandboxes",
                sql: "phase IN ('Pending', 'Stopped', 'Failed', 'Deleting') OR node_id IS NOT NULL");

            migrationBuilder.CreateIndex(
                name: "ix_nodes_next_token_sha256",
                table: "nodes",
                column: "next_token_sha256",
                unique: true);

            migrationBuilder.CreateIndex(
                name: "ix_retired_node_tokens_at",
                table: "retired_node_tokens",
                column: "at");
        }

        /// <inheritdoc />
        protected override void Down(MigrationBuilder migrationBuilder)
        {
            migrationBuilder.DropTable(
                name: "retired_node_tokens");

            migrationBuilder.DropIndex(
                name: "ix_sandboxes_idle_lease",
                table: "sandboxes");

            migrationBuilder.DropIndex(
                name: "ix_sandboxes_restart_at",
                table: "sandboxes");

            migrationBuilder.DropCheckConstraint(
                name: "ck_sandboxes_placed",
                table: "sandboxes");

            migrationBuilder.DropIndex(
                name: "ix_nodes_next_token_sha256",
                table: "nodes");

            migrationBuilder.DropColumn(
                name: "idle_warned_for",
                table: "sandboxes");

            migrationBuilder.DropColumn(
                name: "last_activity_at",
                table: "sandboxes");

            migrationBuilder.DropColumn(
                name: "lease_idle_timeout_seconds",
                table: "sandboxes");

            migrationBuilder.DropColumn(
                name: "moves_after_stop",
                table: "sandboxes");

            migrationBuilder.DropColumn(
                name: "restart",
                table: "sandboxes");

            migrationBuilder.DropColumn(
                name: "restart_at",
                table: "sandboxes");

            migrationBuilder.DropColumn(
                name: "restart_count",
                table: "sandboxes");

            migrationBuilder.DropColumn(
                name: "told_drain",
                table: "sandboxes");

            migrationBuilder.DropColumn(
                name: "drain",
                table: "nodes");

            migrationBuilder.DropColumn(
                name: "maintenance_since",
                table: "nodes");

            migrationBuilder.DropColumn(
                name: "next_token_sha256",
                table: "nodes");

            migrationBuilder.DropColumn(
                name: "next_token_until",
                table: "nodes");

            migrationBuilder.DropColumn(
                name: "refusal",
                table: "nodes");

            migrationBuilder.DropColumn(
                name: "rotation_wanted_at",
                table: "nodes");

            migrationBuilder.AddCheckConstraint(
                name: "ck_sandboxes_placed",
                table: "sandboxes",
                sql: "phase IN ('Pending', 'Stopped', 'Deleting') OR node_id IS NOT NULL");
        }
    }
}

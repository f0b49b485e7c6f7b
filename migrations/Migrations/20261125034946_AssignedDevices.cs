using System;
using Microsoft.EntityFrameworkCore.Migrations;

#nullable disable

namespace Migrations.Migrations
{
    /// <inheritdoc />
    public partial class AssignedDevices : Migration
    {
        /// <inheritdoc />
        protected override void Up(MigrationBuilder migrationBuilder)
        {
            migrationBuilder.AddColumn<string>(
                name: "vmm",
                table: "sandboxes",
                type: "character varying(32)",
                maxLength: 32,
                nullable: false,
                defaultValue: "Qemu");

            migrationBuilder.AddColumn<string>(
                name: "wanted_node",
                table: "sandboxes",
                type: "character varying(63)",
                maxLength: 63,
                nullable: true);

            migrationBuilder.AddColumn<Guid>(
                name: "installation",
                table: "nodes",
                type: "uuid",
                nullable: true);

            migrationBuilder.AddColumn<bool>(
                name: "fits_kvmtool",
                table: "devices",
                type: "boolean",
                nullable: false,
                defaultValue: false);

            migrationBuilder.AddColumn<long>(
                name: "lift_quarantine_of",
                table: "devices",
                type: "bigint",
                nullable: true);

            migrationBuilder.AddColumn<string>(
                name: "operator_quarantine",
                table: "devices",
                type: "jsonb",
                nullable: true);

            migrationBuilder.AddColumn<string>(
                name: "viommus",
                table: "devices",
                type: "jsonb",
                nullable: false,
                defaultValue: "[]");

            migrationBuilder.CreateTable(
                name: "join_tokens",
                columns: table => new
                {
                    id = table.Column<Guid>(type: "uuid", nullable: false),
                    name = table.Column<string>(type: "character varying(63)", maxLength: 63, nullable: false),
                    token_sha256 = table.Column<byte[]>(type: "bytea", nullable: false),
                    replace = table.Column<bool>(type: "boolean", nullable: false),
                    created_at = table.Column<DateTimeOffset>(type: "timestamp with time zone", nullable: false),
                    expires_at = table.Column<DateTimeOffset>(type: "timestamp with time zone", nullable: false),
                    used_by = table.Column<Guid>(type: "uuid", nullable: true),
                    xmin = table.Column<uint>(type: "xid", rowVersion: true, nullable: false)
                },
                constraints: table =>
                {
                    table.PrimaryKey("pk_join_tokens", x => x.id);
                });

            migrationBuilder.CreateIndex(
                name: "ix_join_tokens_expires_at",
                table: "join_tokens",
                column: "expires_at");

            migrationBuilder.CreateIndex(
                name: "ix_join_tokens_token_sha256",
                table: "join_tokens",
                column: "token_sha256",
                unique: true);
        }

        /// <inheritdoc />
        protected override void Down(MigrationBuilder migrationBuilder)
        {
            migrationBuilder.DropTable(
                name: "join_tokens");

            migrationBuilder.DropColumn(
                name: "vmm",
                table: "sandboxes");

            migrationBuilder.DropColumn(
                name: "wanted_node",
                table: "sandboxes");

            migrationBuilder.DropColumn(
                name: "installation",
                table: "nodes");

            migrationBuilder.DropColumn(
                name: "fits_kvmtool",
                table: "devices");

            migrationBuilder.DropColumn(
                name: "lift_quarantine_of",
                table: "devices");

            migrationBuilder.DropColumn(
                name: "operator_quarantine",
                table: "devices");

            migrationBuilder.DropColumn(
                name: "viommus",
                table: "devices");
        }
    }
}

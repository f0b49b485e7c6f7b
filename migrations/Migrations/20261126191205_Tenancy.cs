using System;
using Microsoft.EntityFrameworkCore.Migrations;

#nullable disable

namespace Migrations.Migrations
{
    /// <inheritdoc />
    public partial class Tenancy : Migration
    {
        /// <inheritdoc />
        protected override void Up(MigrationBuilder migrationBuilder)
        {
            migrationBuilder.AddColumn<DateTimeOffset>(
                name: "created_at",
                table: "projects",
                type: "timestamp with time zone",
                nullable: false,
                defaultValueSql: "now()");

            migrationBuilder.AddColumn<string>(
                name: "max_devices",
                table: "projects",
                type: "jsonb",
                nullable: false,
                defaultValue: "{}");

            migrationBuilder.AddColumn<long>(
                name: "max_memory_mib",
                table: "projects",
                type: "bigint",
                nullable: true);

            migrationBuilder.AddColumn<int>(
                name: "max_vcpus",
                table: "projects",
                type: "integer",
                nullable: true);

            migrationBuilder.AddColumn<uint>(
                name: "xmin",
                table: "projects",
                type: "xid",
                rowVersion: true,
                nullable: false,
                defaultValue: 0u);

            migrationBuilder.AlterColumn<string>(
                name: "name",
                table: "api_keys",
                type: "character varying(63)",
                maxLength: 63,
                nullable: false,
                oldClrType: typeof(string),
                oldType: "text");

            migrationBuilder.AddColumn<DateTimeOffset>(
                name: "expires_at",
                table: "api_keys",
                type: "timestamp with time zone",
                nullable: true);

            migrationBuilder.AddColumn<int>(
                name: "generation",
                table: "api_keys",
                type: "integer",
                nullable: false,
                defaultValue: 1);

            migrationBuilder.AddColumn<DateTimeOffset>(
                name: "last_used_at",
                table: "api_keys",
                type: "timestamp with time zone",
                nullable: true);

            migrationBuilder.AddColumn<string>(
                name: "prefix",
                table: "api_keys",
                type: "text",
                nullable: true);

            migrationBuilder.AddColumn<byte[]>(
                name: "previous_sha256",
                table: "api_keys",
                type: "bytea",
                nullable: true);

            migrationBuilder.AddColumn<DateTimeOffset>(
                name: "previous_until",
                table: "api_keys",
                type: "timestamp with time zone",
                nullable: true);

            migrationBuilder.AddColumn<string>(
                name: "role",
                table: "api_keys",
                type: "character varying(32)",
                maxLength: 32,
                nullable: false,
                defaultValue: "Admin");

            // Until now a key could do everything; one that is made from now on says what it can.
            migrationBuilder.Sql("ALTER TABLE api_keys ALTER COLUMN role DROP DEFAULT; ALTER TABLE projects ALTER COLUMN created_at DROP DEFAULT");

            migrationBuilder.CreateTable(
                name: "sessions",
                columns: table => new
                {
                    id = table.Column<Guid>(type: "uuid", nullable: false),
                    project_id = table.Column<Guid>(type: "uuid", nullable: false),
                    key_id = table.Column<Guid>(type: "uuid", nullable: true),
                    subject = table.Column<string>(type: "text", nullable: true),
                    name = table.Column<string>(type: "text", nullable: false),
                    role = table.Column<string>(type: "character varying(32)", maxLength: 32, nullable: false),
                    created_at = table.Column<DateTimeOffset>(type: "timestamp with time zone", nullable: false),
                    expires_at = table.Column<DateTimeOffset>(type: "timestamp with time zone", nullable: false)
                },
                constraints: table =>
                {
                    table.PrimaryKey("pk_sessions", x => x.id);
                    table.ForeignKey(
                        name: "fk_sessions_api_keys_key_id",
                        column: x => x.key_id,
                        principalTable: "api_keys",
                        principalColumn: "id",
                        onDelete: ReferentialAction.Cascade);
                    table.ForeignKey(
                        name: "fk_sessions_projects_project_id",
                        column: x => x.project_id,
                        principalTable: "projects",
                        principalColumn: "id",
                        onDelete: ReferentialAction.Cascade);
                });

            migrationBuilder.CreateIndex(
                name: "ix_api_keys_previous_sha256",
                table: "api_keys",
                column: "previous_sha256",
                unique: true);

            migrationBuilder.AddCheckConstraint(
                name: "ck_api_keys_role",
                table: "api_keys",
                sql: "role IN ('Viewer', 'Operator', 'Admin')");

            migrationBuilder.CreateIndex(
                name: "ix_sessions_expires_at",
                table: "sessions",
                column: "expires_at");

            migrationBuilder.CreateIndex(
                name: "ix_sessions_key_id",
                table: "sessions",
                column: "key_id");

            migrationBuilder.CreateIndex(
                name: "ix_sessions_project_id",
                table: "sessions",
                column: "project_id");

            migrationBuilder.CreateIndex(
                name: "ix_sessions_subject",
                table: "sessions",
                column: "subject");
        }

        /// <inheritdoc />
        protected override void Down(MigrationBuilder migrationBuilder)
        {
            migrationBuilder.DropTable(
                name: "sessions");

            migrationBuilder.DropIndex(
                name: "ix_api_keys_previous_sha256",
                table: "api_keys");

            migrationBuilder.DropCheckConstraint(
                name: "ck_api_keys_role",
                table: "api_keys");

            migrationBuilder.DropColumn(
                name: "created_at",
                table: "projects");

            migrationBuilder.DropColumn(
                name: "max_devices",
                table: "projects");

            migrationBuilder.DropColumn(
                name: "max_memory_mib",
                table: "projects");

            migrationBuilder.DropColumn(
                name: "max_vcpus",
                table: "projects");

            migrationBuilder.DropColumn(
                name: "xmin",
                table: "projects");

            migrationBuilder.DropColumn(
                name: "expires_at",
                table: "api_keys");

            migrationBuilder.DropColumn(
                name: "generation",
                table: "api_keys");

            migrationBuilder.DropColumn(
                name: "last_used_at",
                table: "api_keys");

            migrationBuilder.DropColumn(
                name: "prefix",
                table: "api_keys");

            migrationBuilder.DropColumn(
                name: "previous_sha256",
                table: "api_keys");

            migrationBuilder.DropColumn(
                name: "previous_until",
                table: "api_keys");

            migrationBuilder.DropColumn(
                name: "role",
                table: "api_keys");

            migrationBuilder.AlterColumn<string>(
                name: "name",
                table: "api_keys",
                type: "text",
                nullable: false,
                oldClrType: typeof(string),
                oldType: "character varying(63)",
                oldMaxLength: 63);
        }
    }
}

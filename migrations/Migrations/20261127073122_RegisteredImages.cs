using System;
using Microsoft.EntityFrameworkCore.Migrations;

#nullable disable

namespace Migrations.Migrations
{
    /// <inheritdoc />
    public partial class RegisteredImages : Migration
    {
        // EXTERNAL: what images hold is compressed already, and is not to be tried for it. A chunk is a row of its own, beside its number only.
        private const string Chunks = """
            CREATE TABLE image_chunks (
                content_id uuid NOT NULL REFERENCES image_contents (id) ON DELETE CASCADE,
                number integer NOT NULL,
                data bytea NOT NULL,
                PRIMARY KEY (content_id, number));
            ALTER TABLE image_chunks ALTER COLUMN data SET STORAGE EXTERNAL;
            """;

        /// <inheritdoc />
        protected override void Up(MigrationBuilder migrationBuilder)
        {
            migrationBuilder.AddColumn<Guid>(
                name: "image_id",
                table: "sandboxes",
                type: "uuid",
                nullable: true);

            migrationBuilder.AddColumn<long>(
                name: "max_image_bytes",
                table: "projects",
                type: "bigint",
                nullable: false,
                defaultValue: 68719476736L);

            migrationBuilder.AddColumn<int>(
                name: "max_images",
                table: "projects",
                type: "integer",
                nullable: false,
                defaultValue: 20);

            migrationBuilder.AddColumn<int>(
                name: "protocol_minor",
                table: "nodes",
                type: "integer",
                nullable: false,
                defaultValue: 0);

            migrationBuilder.CreateTable(
                name: "image_contents",
                columns: table => new
                {
                    id = table.Column<Guid>(type: "uuid", nullable: false),
                    sha256 = table.Column<string>(type: "character varying(64)", maxLength: 64, nullable: false),
                    bytes = table.Column<long>(type: "bigint", nullable: false),
                    complete = table.Column<bool>(type: "boolean", nullable: false),
                    touched_at = table.Column<DateTimeOffset>(type: "timestamp with time zone", nullable: false)
                },
                constraints: table =>
                {
                    table.PrimaryKey("pk_image_contents", x => x.id);
                });

            migrationBuilder.CreateTable(
                name: "registered_images",
                columns: table => new
                {
                    id = table.Column<Guid>(type: "uuid", nullable: false),
                    project_id = table.Column<Guid>(type: "uuid", nullable: true),
                    name = table.Column<string>(type: "character varying(63)", maxLength: 63, nullable: false),
                    architecture = table.Column<string>(type: "text", nullable: false),
                    kernel_version = table.Column<string>(type: "character varying(100)", maxLength: 100, nullable: false),
                    has_agent = table.Column<bool>(type: "boolean", nullable: false),
                    command_line = table.Column<string>(type: "character varying(2048)", maxLength: 2048, nullable: true),
                    disk_format = table.Column<string>(type: "character varying(32)", maxLength: 32, nullable: true),
                    files = table.Column<string>(type: "jsonb", nullable: false),
                    size_bytes = table.Column<long>(type: "bigint", nullable: false),
                    phase = table.Column<string>(type: "character varying(32)", maxLength: 32, nullable: false),
                    failure = table.Column<string>(type: "jsonb", nullable: true),
                    created_at = table.Column<DateTimeOffset>(type: "timestamp with time zone", nullable: false),
                    updated_at = table.Column<DateTimeOffset>(type: "timestamp with time zone", nullable: false),
                    xmin = table.Column<uint>(type: "xid", rowVersion: true, nullable: false)
                },
                constraints: table =>
                {
                    table.PrimaryKey("pk_registered_images", x => x.id);
                    table.CheckConstraint("ck_registered_images_phase", "phase IN ('Waiting', 'Downloading', 'Ready', 'Failed')");
                    table.ForeignKey(
                        name: "fk_registered_images_projects_project_id",
                        column: x => x.project_id,
                        principalTable: "projects",
                        principalColumn: "id");
                });

            migrationBuilder.CreateTable(
                name: "image_downloads",
                columns: table => new
                {
                    image_id = table.Column<Guid>(type: "uuid", nullable: false),
                    claim = table.Column<Guid>(type: "uuid", nullable: true),
                    claimed_until = table.Column<DateTimeOffset>(type: "timestamp with time zone", nullable: false),
                    claims = table.Column<int>(type: "integer", nullable: false)
                },
                constraints: table =>
                {
                    table.PrimaryKey("pk_image_downloads", x => x.image_id);
                    table.ForeignKey(
                        name: "fk_image_downloads_registered_images_image_id",
                        column: x => x.image_id,
                        principalTable: "registered_images",
                        principalColumn: "id",
                        onDelete: ReferentialAction.Cascade);
                });

            migrationBuilder.CreateTable(
                name: "stored_image_files",
                columns: table => new
                {
                    image_id = table.Column<Guid>(type: "uuid", nullable: false),
                    role = table.Column<string>(type: "character varying(32)", maxLength: 32, nullable: false),
                    content_id = table.Column<Guid>(type: "uuid", nullable: false)
                },
                constraints: table =>
                {
                    table.PrimaryKey("pk_stored_image_files", x => new { x.image_id, x.role });
                    table.ForeignKey(
                        name: "fk_stored_image_files_image_contents_content_id",
                        column: x => x.content_id,
                        principalTable: "image_contents",
                        principalColumn: "id",
                        onDelete: ReferentialAction.Restrict);
                    table.ForeignKey(
                        name: "fk_stored_image_files_registered_images_image_id",
                        column: x => x.image_id,
                        principalTable: "registered_images",
                        principalColumn: "id",
                        onDelete: ReferentialAction.Cascade);
                });

            migrationBuilder.Sql(Chunks);

            migrationBuilder.CreateIndex(
                name: "ix_sandboxes_image_id",
                table: "sandboxes",
                column: "image_id");

            migrationBuilder.CreateIndex(
                name: "ix_image_contents_complete",
                table: "image_contents",
                column: "sha256",
                unique: true,
                filter: "complete");

            migrationBuilder.CreateIndex(
                name: "ix_image_downloads_claimed_until",
                table: "image_downloads",
                column: "claimed_until");

            migrationBuilder.CreateIndex(
                name: "ix_registered_images_project_name",
                table: "registered_images",
                columns: new[] { "project_id", "name" },
                unique: true,
                filter: "project_id IS NOT NULL");

            migrationBuilder.CreateIndex(
                name: "ix_registered_images_shared_name",
                table: "registered_images",
                column: "name",
                unique: true,
                filter: "project_id IS NULL");

            migrationBuilder.CreateIndex(
                name: "ix_stored_image_files_content_id",
                table: "stored_image_files",
                column: "content_id");

            migrationBuilder.AddForeignKey(
                name: "fk_sandboxes_registered_images_image_id",
                table: "sandboxes",
                column: "image_id",
                principalTable: "registered_images",
                principalColumn: "id",
                onDelete: ReferentialAction.Restrict);
        }

        /// <inheritdoc />
        protected override void Down(MigrationBuilder migrationBuilder)
        {
            migrationBuilder.Sql("DROP TABLE image_chunks");

            migrationBuilder.DropForeignKey(
                name: "fk_sandboxes_registered_images_image_id",
                table: "sandboxes");

            migrationBuilder.DropTable(
                name: "image_downloads");

            migrationBuilder.DropTable(
                name: "stored_image_files");

            migrationBuilder.DropTable(
                name: "image_contents");

            migrationBuilder.DropTable(
                name: "registered_images");

            migrationBuilder.DropIndex(
                name: "ix_sandboxes_image_id",
                table: "sandboxes");

            migrationBuilder.DropColumn(
                name: "image_id",
                table: "sandboxes");

            migrationBuilder.DropColumn(
                name: "max_image_bytes",
                table: "projects");

            migrationBuilder.DropColumn(
                name: "max_images",
                table: "projects");

            migrationBuilder.DropColumn(
                name: "protocol_minor",
                table: "nodes");
        }
    }
}

using System;
using Microsoft.EntityFrameworkCore.Migrations;
using Npgsql.EntityFrameworkCore.PostgreSQL.Metadata;

#nullable disable

namespace Migrations.Migrations
{
    /// <inheritdoc />
    public partial class Initial : Migration
    {
        /// <inheritdoc />
        protected override void Up(MigrationBuilder migrationBuilder)
        {
            migrationBuilder.CreateTable(
                name: "data_protection_keys",
                columns: table => new
                {
                    id = table.Column<int>(type: "integer", nullable: false)
                        .Annotation("Npgsql:ValueGenerationStrategy", NpgsqlValueGenerationStrategy.IdentityByDefaultColumn),
                    friendly_name = table.Column<string>(type: "text", nullable: true),
                    xml = table.Column<string>(type: "text", nullable: true)
                },
                constraints: table =>
                {
                    table.PrimaryKey("pk_data_protection_keys", x => x.id);
                });

            migrationBuilder.CreateTable(
                name: "events",
                columns: table => new
                {
                    number = table.Column<long>(type: "bigint", nullable: false),
                    project_id = table.Column<Guid>(type: "uuid", nullable: true),
                    at = table.Column<DateTimeOffset>(type: "timestamp with time zone", nullable: false),
                    type = table.Column<string>(type: "text", nullable: false),
                    subject_id = table.Column<Guid>(type: "uuid", nullable: true),
                    subject_name = table.Column<string>(type: "text", nullable: true),
                    reason = table.Column<string>(type: "text", nullable: false),
                    message = table.Column<string>(type: "text", nullable: false),
                    phase = table.Column<string>(type: "character varying(32)", maxLength: 32, nullable: true)
                },
                constraints: table =>
                {
                    table.PrimaryKey("pk_events", x => x.number);
                });

            migrationBuilder.CreateTable(
                name: "nodes",
                columns: table => new
                {
                    id = table.Column<Guid>(type: "uuid", nullable: false),
                    name = table.Column<string>(type: "text", nullable: false),
                    token_sha256 = table.Column<byte[]>(type: "bytea", nullable: false),
                    phase = table.Column<string>(type: "character varying(32)", maxLength: 32, nullable: false),
                    last_report_at = table.Column<DateTimeOffset>(type: "timestamp with time zone", nullable: true),
                    worker_version = table.Column<string>(type: "text", nullable: true),
                    facts = table.Column<string>(type: "jsonb", nullable: true),
                    plan_revision = table.Column<long>(type: "bigint", nullable: false),
                    xmin = table.Column<uint>(type: "xid", rowVersion: true, nullable: false)
                },
                constraints: table =>
                {
                    table.PrimaryKey("pk_nodes", x => x.id);
                });

            migrationBuilder.CreateTable(
                name: "projects",
                columns: table => new
                {
                    id = table.Column<Guid>(type: "uuid", nullable: false),
                    name = table.Column<string>(type: "text", nullable: false),
                    max_sandboxes = table.Column<int>(type: "integer", nullable: false)
                },
                constraints: table =>
                {
                    table.PrimaryKey("pk_projects", x => x.id);
                });

            migrationBuilder.CreateTable(
                name: "node_images",
                columns: table => new
                {
                    node_id = table.Column<Guid>(type: "uuid", nullable: false),
                    name = table.Column<string>(type: "text", nullable: false),
                    digest = table.Column<string>(type: "text", nullable: false),
                    architecture = table.Column<string>(type: "text", nullable: false),
                    kernel = table.Column<string>(type: "text", nullable: false),
                    has_agent = table.Column<bool>(type: "boolean", nullable: false),
                    size_bytes = table.Column<long>(type: "bigint", nullable: false)
                },
                constraints: table =>
                {
                    table.PrimaryKey("pk_node_images", x => new { x.node_id, x.name });
                    table.ForeignKey(
                        name: "fk_node_images_nodes_node_id",
                        column: x => x.node_id,
                        principalTable: "nodes",
                        principalColumn: "id",
                        onDelete: ReferentialAction.Cascade);
                });

            migrationBuilder.CreateTable(
                name: "api_keys",
                columns: table => new
                {
                    id = table.Column<Guid>(type: "uuid", nullable: false),
                    project_id = table.Column<Guid>(type: "uuid", nullable: false),
                    name = table.Column<string>(type: "text", nullable: false),
                    secret_sha256 = table.Column<byte[]>(type: "bytea", nullable: false),
                    created_at = table.Column<DateTimeOffset>(type: "timestamp with time zone", nullable: false)
                },
                constraints: table =>
                {
                    table.PrimaryKey("pk_api_keys", x => x.id);
                    table.ForeignKey(
                        name: "fk_api_keys_projects_project_id",
                        column: x => x.project_id,
                        principalTable: "projects",
                        principalColumn: "id",
                        onDelete: ReferentialAction.Cascade);
                });

            migrationBuilder.CreateTable(
                name: "sandboxes",
                columns: table => new
                {
                    id = table.Column<Guid>(type: "uuid", nullable: false),
                    project_id = table.Column<Guid>(type: "uuid", nullable: false),
                    name = table.Column<string>(type: "character varying(63)", maxLength: 63, nullable: false),
                    image = table.Column<string>(type: "text", nullable: false),
                    vcpus = table.Column<int>(type: "integer", nullable: false),
                    memory_mib = table.Column<int>(type: "integer", nullable: false),
                    accelerators = table.Column<string>(type: "jsonb", nullable: false),
                    viommu = table.Column<string>(type: "character varying(32)", maxLength: 32, nullable: false),
                    lease_expires_at = table.Column<DateTimeOffset>(type: "timestamp with time zone", nullable: true),
                    lease_on_expiry = table.Column<string>(type: "character varying(32)", maxLength: 32, nullable: true),
                    labels = table.Column<string>(type: "jsonb", nullable: false),
                    user_data = table.Column<string>(type: "text", nullable: true),
                    ssh_keys = table.Column<string>(type: "jsonb", nullable: false),
                    desired = table.Column<string>(type: "character varying(32)", maxLength: 32, nullable: false),
                    phase = table.Column<string>(type: "character varying(32)", maxLength: 32, nullable: false),
                    generation = table.Column<int>(type: "integer", nullable: false),
                    incarnation = table.Column<int>(type: "integer", nullable: false),
                    launched = table.Column<bool>(type: "boolean", nullable: false),
                    node_id = table.Column<Guid>(type: "uuid", nullable: true),
                    refused_reason = table.Column<string>(type: "text", nullable: true),
                    conditions = table.Column<string>(type: "jsonb", nullable: false),
                    phases = table.Column<string>(type: "jsonb", nullable: false),
                    failure = table.Column<string>(type: "jsonb", nullable: true),
                    verdict = table.Column<string>(type: "jsonb", nullable: true),
                    guest = table.Column<string>(type: "jsonb", nullable: true),
                    probe = table.Column<string>(type: "jsonb", nullable: true),
                    exec_at = table.Column<DateTimeOffset>(type: "timestamp with time zone", nullable: true),
                    guest_ready_at = table.Column<DateTimeOffset>(type: "timestamp with time zone", nullable: true),
                    created_at = table.Column<DateTimeOffset>(type: "timestamp with time zone", nullable: false),
                    updated_at = table.Column<DateTimeOffset>(type: "timestamp with time zone", nullable: false),
                    xmin = table.Column<uint>(type: "xid", rowVersion: true, nullable: false)
                },
                constraints: table =>
                {
                    table.PrimaryKey("pk_sandboxes", x => x.id);
                    table.CheckConstraint("ck_sandboxes_desired", "desired IN ('Running', 'Stopped', 'Deleted')");
                    table.CheckConstraint("ck_sandboxes_phase", "phase IN ('Pending', 'Scheduled', 'Preparing', 'Booting', 'Running', 'Stopping', 'Stopped', 'Failed', 'Lost', 'Deleting')");
                    table.CheckConstraint("ck_sandboxes_placed", "phase IN ('Pending', 'Stopped', 'Deleting') OR node_id IS NOT NULL");
                    table.ForeignKey(
                        name: "fk_sandboxes_nodes_node_id",
                        column: x => x.node_id,
                        principalTable: "nodes",
                        principalColumn: "id",
                        onDelete: ReferentialAction.Restrict);
                    table.ForeignKey(
                        name: "fk_sandboxes_projects_project_id",
                        column: x => x.project_id,
                        principalTable: "projects",
                        principalColumn: "id",
                        onDelete: ReferentialAction.Cascade);
                });

            migrationBuilder.CreateTable(
                name: "devices",
                columns: table => new
                {
                    id = table.Column<Guid>(type: "uuid", nullable: false),
                    node_id = table.Column<Guid>(type: "uuid", nullable: false),
                    address = table.Column<string>(type: "text", nullable: false),
                    @class = table.Column<string>(name: "class", type: "text", nullable: false),
                    vendor_id = table.Column<string>(type: "text", nullable: false),
                    device_id = table.Column<string>(type: "text", nullable: false),
                    description = table.Column<string>(type: "text", nullable: false),
                    origin = table.Column<string>(type: "character varying(32)", maxLength: 32, nullable: false),
                    phase = table.Column<string>(type: "character varying(32)", maxLength: 32, nullable: false),
                    sandbox_id = table.Column<Guid>(type: "uuid", nullable: true),
                    quarantine = table.Column<string>(type: "jsonb", nullable: true),
                    verdict = table.Column<string>(type: "jsonb", nullable: true),
                    present = table.Column<bool>(type: "boolean", nullable: false),
                    xmin = table.Column<uint>(type: "xid", rowVersion: true, nullable: false)
                },
                constraints: table =>
                {
                    table.PrimaryKey("pk_devices", x => x.id);
                    table.CheckConstraint("ck_devices_assigned", "(phase = 'Assigned') <= (sandbox_id IS NOT NULL)");
                    table.ForeignKey(
                        name: "fk_devices_nodes_node_id",
                        column: x => x.node_id,
                        principalTable: "nodes",
                        principalColumn: "id",
                        onDelete: ReferentialAction.Cascade);
                    table.ForeignKey(
                        name: "fk_devices_sandboxes_sandbox_id",
                        column: x => x.sandbox_id,
                        principalTable: "sandboxes",
                        principalColumn: "id",
                        onDelete: ReferentialAction.Restrict);
                });

            migrationBuilder.CreateIndex(
                name: "ix_api_keys_project_id",
                table: "api_keys",
                column: "project_id");

            migrationBuilder.CreateIndex(
                name: "ix_api_keys_secret_sha256",
                table: "api_keys",
                column: "secret_sha256",
                unique: true);

            migrationBuilder.CreateIndex(
                name: "ix_devices_node_id_address",
                table: "devices",
                columns: new[] { "node_id", "address" },
                unique: true);

            migrationBuilder.CreateIndex(
                name: "ix_devices_sandbox_id",
                table: "devices",
                column: "sandbox_id");

            migrationBuilder.CreateIndex(
                name: "ix_events_subject_id_number",
                table: "events",
                columns: new[] { "subject_id", "number" });

            migrationBuilder.CreateIndex(
                name: "ix_nodes_name",
                table: "nodes",
                column: "name",
                unique: true);

            migrationBuilder.CreateIndex(
                name: "ix_nodes_token_sha256",
                table: "nodes",
                column: "token_sha256",
                unique: true);

            migrationBuilder.CreateIndex(
                name: "ix_projects_name",
                table: "projects",
                column: "name",
                unique: true);

            migrationBuilder.CreateIndex(
                name: "ix_sandboxes_node_id",
                table: "sandboxes",
                column: "node_id");

            migrationBuilder.CreateIndex(
                name: "ix_sandboxes_phase_id",
                table: "sandboxes",
                columns: new[] { "phase", "id" });

            migrationBuilder.CreateIndex(
                name: "ix_sandboxes_project_name",
                table: "sandboxes",
                columns: new[] { "project_id", "name" },
                unique: true);
            migrationBuilder.Sql(EventNumbers);
            migrationBuilder.Sql(FaultSamples);
        }

        /// <inheritdoc />
        // Numbers come from one counter row that stays locked until commit: they become visible in order and without gaps.
        private const string EventNumbers = """
            CREATE TABLE event_counter (only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row), last_number bigint NOT NULL);
            INSERT INTO event_counter (last_number) VALUES (0);
            CREATE FUNCTION number_event() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN
              UPDATE event_counter SET last_number = last_number + 1 RETURNING last_number INTO NEW.number;
              PERFORM pg_notify('sandbox_events', '');
              RETURN NEW;
            END $$;
            CREATE TRIGGER number_event BEFORE INSERT ON events FOR EACH ROW EXECUTE FUNCTION number_event();
            """;

        private const string FaultSamples = """
            CREATE TABLE fault_samples (sandbox_id uuid NOT NULL, at timestamptz NOT NULL, incarnation integer NOT NULL, readings jsonb NOT NULL) PARTITION BY RANGE (at);
            CREATE INDEX ix_fault_samples_sandbox_at ON fault_samples (sandbox_id, at);
            """;

        protected override void Down(MigrationBuilder migrationBuilder)
        {
            migrationBuilder.DropTable(
                name: "api_keys");

            migrationBuilder.DropTable(
                name: "data_protection_keys");

            migrationBuilder.DropTable(
                name: "devices");

            migrationBuilder.DropTable(
                name: "events");

            migrationBuilder.DropTable(
                name: "node_images");

            migrationBuilder.DropTable(
                name: "sandboxes");

            migrationBuilder.DropTable(
                name: "nodes");

            migrationBuilder.DropTable(
                name: "projects");
        }
    }
}

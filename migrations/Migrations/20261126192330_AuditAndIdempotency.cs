using System;
using Microsoft.EntityFrameworkCore.Migrations;

#nullable disable

namespace Migrations.Migrations
{
    /// <inheritdoc />
    public partial class AuditAndIdempotency : Migration
    {
        /// <inheritdoc />
        protected override void Up(MigrationBuilder migrationBuilder)
        {
            migrationBuilder.CreateTable(
                name: "audit_entries",
                columns: table => new
                {
                    id = table.Column<long>(type: "bigint", nullable: false),
                    at = table.Column<DateTimeOffset>(type: "timestamp with time zone", nullable: false),
                    project_id = table.Column<Guid>(type: "uuid", nullable: false),
                    actor_id = table.Column<string>(type: "text", nullable: false),
                    actor_name = table.Column<string>(type: "text", nullable: false),
                    remote_address = table.Column<string>(type: "text", nullable: true),
                    action = table.Column<string>(type: "text", nullable: false),
                    subject_type = table.Column<string>(type: "text", nullable: false),
                    subject_id = table.Column<string>(type: "text", nullable: true),
                    subject_name = table.Column<string>(type: "text", nullable: true),
                    before = table.Column<string>(type: "jsonb", nullable: true),
                    after = table.Column<string>(type: "jsonb", nullable: true)
                },
                constraints: table =>
                {
                    table.PrimaryKey("pk_audit_entries", x => x.id);
                });

            migrationBuilder.CreateTable(
                name: "idempotency_keys",
                columns: table => new
                {
                    project_id = table.Column<Guid>(type: "uuid", nullable: false),
                    actor = table.Column<string>(type: "text", nullable: false),
                    key_sha256 = table.Column<byte[]>(type: "bytea", nullable: false),
                    request_sha256 = table.Column<byte[]>(type: "bytea", nullable: false),
                    status = table.Column<int>(type: "integer", nullable: false),
                    answer = table.Column<byte[]>(type: "bytea", nullable: false),
                    created_at = table.Column<DateTimeOffset>(type: "timestamp with time zone", nullable: false)
                },
                constraints: table =>
                {
                    table.PrimaryKey("pk_idempotency_keys", x => new { x.project_id, x.actor, x.key_sha256 });
                });

            migrationBuilder.CreateIndex(
                name: "ix_audit_entries_project_id_id",
                table: "audit_entries",
                columns: new[] { "project_id", "id" });

            migrationBuilder.CreateIndex(
                name: "ix_audit_entries_subject_id_id",
                table: "audit_entries",
                columns: new[] { "subject_id", "id" });

            migrationBuilder.CreateIndex(
                name: "ix_idempotency_keys_created_at",
                table: "idempotency_keys",
                column: "created_at");

            migrationBuilder.Sql(AuditNumbers);
            migrationBuilder.Sql(AuditIsAppendOnly);
            migrationBuilder.Sql(SandboxNotices);
        }

        // Entries of a project are numbered one transaction after the other: what has a lower number never becomes visible later.
        private const string AuditNumbers = """
            CREATE SEQUENCE audit_number;
            CREATE FUNCTION number_audit_entry() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN
              PERFORM pg_advisory_xact_lock(1396855125, hashtext(NEW.project_id::text));
              NEW.id := nextval('audit_number');
              RETURN NEW;
            END $$;
            CREATE TRIGGER number_audit_entry BEFORE INSERT ON audit_entries FOR EACH ROW EXECUTE FUNCTION number_audit_entry();
            """;

        private const string AuditIsAppendOnly = """
            CREATE FUNCTION refuse_change_of_audit() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN
              RAISE EXCEPTION 'audit_entries is append-only' USING ERRCODE = 'insufficient_privilege';
            END $$;
            CREATE TRIGGER refuse_change_of_audit BEFORE UPDATE OR DELETE ON audit_entries FOR EACH ROW EXECUTE FUNCTION refuse_change_of_audit();
            CREATE TRIGGER refuse_truncation_of_audit BEFORE TRUNCATE ON audit_entries FOR EACH STATEMENT EXECUTE FUNCTION refuse_change_of_audit();
            """;

        // Whoever waits for one sandbox is woken by what others can wait for: its phase, its conditions, its end.
        private const string SandboxNotices = """
            CREATE FUNCTION tell_sandbox() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN
              PERFORM pg_notify('sandbox_changed', OLD.id::text);
              RETURN NULL;
            END $$;
            CREATE TRIGGER tell_changed_sandbox AFTER UPDATE ON sandboxes FOR EACH ROW
              WHEN (OLD.phase IS DISTINCT FROM NEW.phase OR OLD.conditions IS DISTINCT FROM NEW.conditions) EXECUTE FUNCTION tell_sandbox();
            CREATE TRIGGER tell_gone_sandbox AFTER DELETE ON sandboxes FOR EACH ROW EXECUTE FUNCTION tell_sandbox();
            """;

        /// <inheritdoc />
        protected override void Down(MigrationBuilder migrationBuilder)
        {
            migrationBuilder.Sql("""
                DROP TRIGGER tell_changed_sandbox ON sandboxes;
                DROP TRIGGER tell_gone_sandbox ON sandboxes;
                DROP FUNCTION tell_sandbox();
                """);

            migrationBuilder.DropTable(
                name: "audit_entries");

            migrationBuilder.DropTable(
                name: "idempotency_keys");

            migrationBuilder.Sql("""
                DROP FUNCTION number_audit_entry();
                DROP FUNCTION refuse_change_of_audit();
                DROP SEQUENCE audit_number;
                """);
        }
    }
}

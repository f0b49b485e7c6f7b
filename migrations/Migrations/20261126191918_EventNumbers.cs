using System;
using Microsoft.EntityFrameworkCore.Migrations;

#nullable disable

namespace Migrations.Migrations
{
    /// <inheritdoc />
    public partial class EventNumbers : Migration
    {
        /// <inheritdoc />
        protected override void Up(MigrationBuilder migrationBuilder)
        {
            migrationBuilder.DropPrimaryKey(
                name: "pk_events",
                table: "events");

            migrationBuilder.DropIndex(
                name: "ix_events_subject_id_number",
                table: "events");

            migrationBuilder.Sql(OfTheOperators);

            migrationBuilder.AddColumn<string>(
                name: "labels",
                table: "events",
                type: "jsonb",
                nullable: true);

            migrationBuilder.AddColumn<string>(
                name: "sandbox",
                table: "events",
                type: "jsonb",
                nullable: true);

            migrationBuilder.AddPrimaryKey(
                name: "pk_events",
                table: "events",
                columns: new[] { "project_id", "number" });

            migrationBuilder.CreateTable(
                name: "event_counters",
                columns: table => new
                {
                    project_id = table.Column<Guid>(type: "uuid", nullable: false),
                    last_number = table.Column<long>(type: "bigint", nullable: false)
                },
                constraints: table =>
                {
                    table.PrimaryKey("pk_event_counters", x => x.project_id);
                });

            migrationBuilder.Sql(NumbersOfProjects);

            migrationBuilder.CreateIndex(
                name: "ix_events_project_id_subject_id_number",
                table: "events",
                columns: new[] { "project_id", "subject_id", "number" });
        }

        // What was everybody's is theirs who run the service. Numbers begin anew in each project, in the order that they had.
        private const string OfTheOperators = """
            UPDATE events SET project_id = (SELECT id FROM projects WHERE operates) WHERE project_id IS NULL;
            -- Where nobody operates the service nobody is left to read them.
            DELETE FROM events WHERE project_id IS NULL;
            ALTER TABLE events ALTER COLUMN project_id SET NOT NULL;
            UPDATE events e SET number = n.number FROM (SELECT ctid AS place, row_number() OVER (PARTITION BY project_id ORDER BY number) AS number FROM events) n WHERE e.ctid = n.place;
            """;

        // A project's counter row stays locked until the commit: its numbers become visible in order and without gaps, and other projects do not wait.
        private const string NumbersOfProjects = """
            INSERT INTO event_counters (project_id, last_number) SELECT project_id, max(number) FROM events GROUP BY project_id;
            CREATE OR REPLACE FUNCTION number_event() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN
              INSERT INTO event_counters AS c (project_id, last_number) VALUES (NEW.project_id, 1)
                ON CONFLICT (project_id) DO UPDATE SET last_number = c.last_number + 1 RETURNING c.last_number INTO NEW.number;
              PERFORM pg_notify('sandbox_events', NEW.project_id::text);
              RETURN NEW;
            END $$;
            DROP TABLE event_counter;
            """;

        private const string OneNumber = """
            UPDATE events e SET number = n.number FROM (SELECT ctid AS place, row_number() OVER (ORDER BY at, project_id, number) AS number FROM events) n WHERE e.ctid = n.place;
            CREATE TABLE event_counter (only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row), last_number bigint NOT NULL);
            INSERT INTO event_counter (last_number) SELECT COALESCE(max(number), 0) FROM events;
            CREATE OR REPLACE FUNCTION number_event() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN
              UPDATE event_counter SET last_number = last_number + 1 RETURNING last_number INTO NEW.number;
              PERFORM pg_notify('sandbox_events', '');
              RETURN NEW;
            END $$;
            """;

        /// <inheritdoc />
        protected override void Down(MigrationBuilder migrationBuilder)
        {
            migrationBuilder.DropTable(
                name: "event_counters");

            migrationBuilder.DropPrimaryKey(
                name: "pk_events",
                table: "events");

            migrationBuilder.Sql(OneNumber);

            migrationBuilder.DropIndex(
                name: "ix_events_project_id_subject_id_number",
                table: "events");

            migrationBuilder.DropColumn(
                name: "labels",
                table: "events");

            migrationBuilder.DropColumn(
                name: "sandbox",
                table: "events");

            migrationBuilder.AlterColumn<Guid>(
                name: "project_id",
                table: "events",
                type: "uuid",
                nullable: true,
                oldClrType: typeof(Guid),
                oldType: "uuid");

            migrationBuilder.AddPrimaryKey(
                name: "pk_events",
                table: "events",
                column: "number");

            migrationBuilder.CreateIndex(
                name: "ix_events_subject_id_number",
                table: "events",
                columns: new[] { "subject_id", "number" });
        }
    }
}

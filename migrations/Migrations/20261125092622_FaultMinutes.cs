using Microsoft.EntityFrameworkCore.Migrations;

#nullable disable

namespace Migrations.Migrations
{
    /// <inheritdoc />
    public partial class FaultMinutes : Migration
    {
        // Not in EF's model, as fault_samples is not. The samples' readings are counters since the guest's start, so the last sample of a minute is its rollup.
        private const string Tables = """
            CREATE TABLE fault_minutes (sandbox_id uuid NOT NULL, minute timestamptz NOT NULL, incarnation integer NOT NULL, at timestamptz NOT NULL, readings jsonb NOT NULL,
              PRIMARY KEY (sandbox_id, minute, incarnation)) PARTITION BY RANGE (minute);
            CREATE TABLE fault_rollup (only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row), rolled_until timestamptz NOT NULL);
            INSERT INTO fault_rollup (rolled_until) SELECT date_trunc('minute', coalesce(min(at), now())) FROM fault_samples;
            """;

        /// <inheritdoc />
        protected override void Up(MigrationBuilder migrationBuilder) => migrationBuilder.Sql(Tables);

        /// <inheritdoc />
        protected override void Down(MigrationBuilder migrationBuilder) => migrationBuilder.Sql("DROP TABLE fault_minutes; DROP TABLE fault_rollup;");
    }
}

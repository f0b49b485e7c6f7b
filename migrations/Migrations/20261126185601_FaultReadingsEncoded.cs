using Microsoft.EntityFrameworkCore.Migrations;

#nullable disable

namespace Migrations.Migrations
{
    /// <inheritdoc />
    public partial class FaultReadingsEncoded : Migration
    {
        // Readings were JSON and are now in the form of api/Contracts/FaultSamplesEncoding.cs, version 1, where each name may be written out: so what is stored keeps its
        // meaning without the table of words. Every partition is written anew.
        private const string Convert = """
            CREATE FUNCTION pg_temp.varint(value bigint) RETURNS bytea LANGUAGE plpgsql IMMUTABLE AS $$
            DECLARE encoded bytea := '';
            BEGIN
              WHILE value > 127 LOOP
                encoded := encoded || set_byte('\x00'::bytea, 0, ((value & 127) | 128)::int);
                value := value >> 7;
              END LOOP;
              RETURN encoded || set_byte('\x00'::bytea, 0, value::int);
            END $$;
            CREATE FUNCTION pg_temp.name(name text) RETURNS bytea LANGUAGE sql IMMUTABLE AS $$ SELECT pg_temp.varint(2 * length(name) + 1) || convert_to(name, 'UTF8') $$;
            CREATE FUNCTION pg_temp.latency(latency jsonb) RETURNS bytea LANGUAGE sql IMMUTABLE AS $$
              SELECT pg_temp.varint((latency->>'sumNanoseconds')::bigint) || pg_temp.varint(coalesce(sum(1::bigint << (bucket - 1)::int), 0)::bigint)
                || coalesce(string_agg(pg_temp.varint(events::bigint), ''::bytea ORDER BY bucket), ''::bytea)
              FROM jsonb_array_elements_text(latency->'counts') WITH ORDINALITY AS counts (events, bucket) WHERE events::bigint > 0
            $$;
            CREATE FUNCTION pg_temp.readings(readings jsonb) RETURNS bytea LANGUAGE plpgsql IMMUTABLE AS $$
            DECLARE
              encoded bytea := '\x01';
              reading jsonb;
              has_latency boolean;
            BEGIN
              FOR reading IN SELECT value FROM jsonb_array_elements(readings) WITH ORDINALITY ORDER BY ordinality LOOP
                has_latency := coalesce(jsonb_typeof(reading->'latency') = 'object', false);
                encoded := encoded || pg_temp.name(reading->>'source') || set_byte('\x00'::bytea, 0,
                  CASE reading->>'origin' WHEN 'Hardware' THEN 0 WHEN 'Emulated' THEN 1 ELSE 2 END + CASE WHEN (reading->>'lowerBound')::boolean THEN 4 ELSE 0 END
                  + CASE WHEN reading->>'value' IS NOT NULL THEN 8 ELSE 0 END + CASE WHEN has_latency THEN 16 ELSE 0 END)
                  || CASE WHEN reading->>'value' IS NOT NULL THEN pg_temp.varint((reading->>'value')::bigint) ELSE pg_temp.name(reading->>'nullReason') END
                  || CASE WHEN has_latency THEN pg_temp.latency(reading->'latency') ELSE ''::bytea END;
              END LOOP;
              RETURN encoded;
            END $$;
            ALTER TABLE fault_samples ALTER COLUMN readings TYPE bytea USING pg_temp.readings(readings);
            ALTER TABLE fault_minutes ALTER COLUMN readings TYPE bytea USING pg_temp.readings(readings);
            """;

        // An earlier version cannot read them: it begins its history anew.
        private const string Forget = """
            TRUNCATE fault_samples, fault_minutes;
            ALTER TABLE fault_samples ALTER COLUMN readings TYPE jsonb USING '[]'::jsonb;
            ALTER TABLE fault_minutes ALTER COLUMN readings TYPE jsonb USING '[]'::jsonb;
            """;

        /// <inheritdoc />
        protected override void Up(MigrationBuilder migrationBuilder) => migrationBuilder.Sql(Convert);

        /// <inheritdoc />
        protected override void Down(MigrationBuilder migrationBuilder) => migrationBuilder.Sql(Forget);
    }
}

using Npgsql;

namespace Api.Data;

/// <summary>Tells what failed because the database is away, ends, starts or is too slow from what failed because of us: the first is to be tried again. Pure.</summary>
public static class DatabaseAbsence
{
    // What Npgsql does not count as transient: the server ends, or has given up on the statement (its own limit, or an operator's).
    private static readonly HashSet<string> States = [PostgresErrorCodes.AdminShutdown, PostgresErrorCodes.CrashShutdown, PostgresErrorCodes.CannotConnectNow, PostgresErrorCodes.QueryCanceled];

    public static bool Is(Exception? error) => error switch
    {
        null => false,
        PostgresException told => told.IsTransient || States.Contains(told.SqlState),
        NpgsqlException { IsTransient: true } => true,
        // What was thrown around it, by the framework or by a transaction that had lost its connection.
        _ => Is(error.InnerException),
    };
}

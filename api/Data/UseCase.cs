using System.Data.Common;
using Microsoft.EntityFrameworkCore.Storage;

namespace Api.Data;

/// <summary>What a use case changes: all of it or nothing. Undone unless it is committed.</summary>
public sealed class UseCase : IAsyncDisposable
{
    private const string Savepoint = "use_case";
    private readonly IDbContextTransaction transaction;
    private readonly SandboxDb? whole;
    private bool committed;

    private UseCase(IDbContextTransaction transaction, SandboxDb? whole) => (this.transaction, this.whole) = (transaction, whole);

    internal static UseCase Whole(IDbContextTransaction transaction, SandboxDb db) => new(transaction, db);

    internal static async Task<UseCase> PartOfAsync(IDbContextTransaction outer, CancellationToken ct)
    {
        await outer.CreateSavepointAsync(Savepoint, ct);
        return new UseCase(outer, null);
    }

    public async Task CommitAsync(CancellationToken ct)
    {
        committed = true;
        if (whole is null) await transaction.ReleaseSavepointAsync(Savepoint, ct);
        else
        {
            await transaction.CommitAsync(ct);
            await transaction.DisposeAsync();
            await whole.CommittedAsync();
        }
    }

    public async ValueTask DisposeAsync()
    {
        if (committed) return;
        if (whole is not null) await transaction.DisposeAsync();
        else await UndoPartAsync();
    }

    private async Task UndoPartAsync()
    {
        try
        {
            await transaction.RollbackToSavepointAsync(Savepoint);
        }
        catch (Exception e) when (e is DbException or InvalidOperationException)
        {
            // The connection is lost, and the whole with it: what failed is told by whoever noticed, not by this.
        }
    }
}

using System.Runtime.CompilerServices;
using Api.Data;
using Contracts;
using Microsoft.AspNetCore.SignalR;

namespace Api.Http;

/// <summary>The log of hubs. The framework logs each refusal (a HubException, which is the caller's news) as a failure with its stack, so that a stranger or a second
/// machine fills the log: its category is silenced in Program.cs, and what is a failure is logged here.</summary>
public sealed class HubFailures(ILogger<HubFailures> log) : IHubFilter
{
    public const string SilencedCategory = "Microsoft.AspNetCore.SignalR.Internal.DefaultHubDispatcher";

    private long toldAt = -1000;

    public async ValueTask<object?> InvokeMethodAsync(HubInvocationContext invocationContext, Func<HubInvocationContext, ValueTask<object?>> next)
    {
        try
        {
            return await next(invocationContext);
        }
        catch (Exception e) when (IsFailure(e, invocationContext.Context.ConnectionAborted))
        {
            if (DatabaseAbsence.Is(e))
            {
                // Nobody's mistake, and told again: each call of each node would fill the log of an outage.
                if (IsDue()) log.LogWarning("{Hub}.{Method} was refused, because the database does not answer: {Problem}", invocationContext.Hub.GetType().Name, invocationContext.HubMethodName, e.Message);
                throw new HubException($"{NodeProtocol.DatabaseUnavailable}: the database does not answer right now; try again in a second");
            }
            log.LogError(e, "{Hub}.{Method} failed", invocationContext.Hub.GetType().Name, invocationContext.HubMethodName);
            throw;
        }
    }

    /// <summary>For streams, which fail only while they are read.</summary>
    public async IAsyncEnumerable<T> Told<T>(string name, IAsyncEnumerable<T> stream, [EnumeratorCancellation] CancellationToken ct)
    {
        await using var items = stream.GetAsyncEnumerator(ct);
        while (true)
        {
            try
            {
                if (!await items.MoveNextAsync()) yield break;
            }
            catch (Exception e) when (IsFailure(e, ct))
            {
                log.LogError(e, "The stream {Stream} failed", name);
                throw;
            }
            yield return items.Current;
        }
    }

    private bool IsDue()
    {
        var (now, last) = (Environment.TickCount64, Interlocked.Read(ref toldAt));
        return now - last >= 1000 && Interlocked.CompareExchange(ref toldAt, now, last) == last;
    }

    private static bool IsFailure(Exception e, CancellationToken ended) => e is not HubException && !(e is OperationCanceledException && ended.IsCancellationRequested);
}

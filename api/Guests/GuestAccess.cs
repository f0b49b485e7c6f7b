using Api.Audit;
using Api.Dashboard;
using Api.Data;
using Api.Http;
using Api.Sandboxes;
using Contracts;
using Microsoft.EntityFrameworkCore;

namespace Api.Guests;

/// <summary>Settings <c>Guests__MaxFileMib</c>: the largest file that is put into a guest or got from it, 1 to 1048576 MiB; default 1024.</summary>
public sealed record GuestSettings(long MaxFileBytes)
{
    public static GuestSettings Read(IConfiguration configuration) => configuration.GetValue("Guests:MaxFileMib", 1024) is >= 1 and <= 1_048_576 and var mib
        ? new(mib * 1024L * 1024) : throw new InvalidOperationException("Guests:MaxFileMib takes 1 to 1048576.");
}

/// <summary>How a request comes to a session in a guest: its sandbox is the caller's and runs, the use is told to the audit log and noted, and the session ends with the request, the caller's key, or the service.</summary>
public sealed class GuestAccess(SandboxDb db, GuestRelay relay, SandboxActivity activity, AuditTrail audit, OpenConnections connections, IHostApplicationLifetime host, TimeProvider time)
{
    private static readonly TimeSpan AnswerLimit = TimeSpan.FromSeconds(15), DigestLimit = TimeSpan.FromMinutes(5), EndLimit = TimeSpan.FromSeconds(5);

    /// <summary>Begins what is asked for; once it has begun, does <paramref name="use"/> with it. <paramref name="told"/>: what the audit log shows.</summary>
    public async Task<IResult> UseAsync(Guid id, HttpContext http, SessionRequest request, object told, Func<GuestSession, SessionOpened, CancellationToken, Task<IResult>> use)
    {
        var project = http.User.ProjectId();
        var sandbox = await db.Sandboxes.AsNoTracking().Where(s => s.Id == id && s.ProjectId == project).Select(s => new { s.Name, s.NodeId, s.Phase }).SingleOrDefaultAsync(http.RequestAborted);
        if (sandbox is null) return ApiProblem.SandboxNotFound();
        if (sandbox.Phase != Phase.Running || sandbox.NodeId is not { } node)
            return ApiProblem.Of(409, "wrong_phase", $"It is {sandbox.Phase}; its guest can be used while it is {Phase.Running}.");
        var opening = relay.Open(node, id);
        if (opening is not GuestRelay.Opening.Here { Session: var session })
            return opening is GuestRelay.Opening.TooMany ? GuestProblems.TooMany() : GuestProblems.NodeElsewhere(http);
        await using var open = session;
        await audit.TellUseAsync(db, http, "sandbox", id.ToString(), sandbox.Name, told);
        activity.Used(id);
        using var ends = CancellationTokenSource.CreateLinkedTokenSource(http.RequestAborted, host.ApplicationStopping);
        var name = $"guest {session.Id}";
        connections.Add(name, http.User, () => Abort(session, ends), time.GetUtcNow());
        try
        {
            await session.BeginAsync(request);
            return await FirstAsync(session, request is FileGetRequest ? DigestLimit : AnswerLimit, ends.Token) switch
            {
                SessionOpened opened => await use(session, opened, ends.Token),
                SessionEnded ended => GuestProblems.Of(http, ended),
                _ => GuestProblems.NotAnswering(http),
            };
        }
        catch (OperationCanceledException) when (ends.IsCancellationRequested)
        {
            // Whoever asked is gone, or may not any more: an answer that has begun is cut off, so that nobody takes it for whole.
            if (http.Response.HasStarted) http.Abort();
            return http.Response.HasStarted || http.RequestAborted.IsCancellationRequested ? Results.Empty
                : session.IsGivenUp ? GuestProblems.Of(http, new SessionEnded(SessionReasons.KeyEnded)) : GuestProblems.NotAnswering(http);
        }
        finally
        {
            connections.Remove(name);
            activity.Used(id);
        }
    }

    /// <summary>Null when there was none in time.</summary>
    private async Task<OfSession?> FirstAsync(GuestSession session, TimeSpan within, CancellationToken ct)
    {
        using var limit = new CancellationTokenSource(within, time);
        using var either = CancellationTokenSource.CreateLinkedTokenSource(ct, limit.Token);
        try
        {
            return await session.ReadAsync(either.Token);
        }
        catch (OperationCanceledException) when (!ct.IsCancellationRequested)
        {
            return null;
        }
    }

    /// <summary>Its end is told as such; whoever does not take it in time is cut off.</summary>
    private static void Abort(GuestSession session, CancellationTokenSource request)
    {
        try
        {
            session.GiveUp(SessionReasons.KeyEnded);
            request.CancelAfter(EndLimit);
        }
        catch (ObjectDisposedException)
        {
            // It has ended by itself.
        }
    }
}

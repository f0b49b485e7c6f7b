using System.Threading.Channels;
using Contracts;
using Microsoft.AspNetCore.SignalR;
using Microsoft.AspNetCore.SignalR.Client;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using Worker.Checks;
using Worker.Faults;
using Worker.Hardware;
using Worker.Vms;

namespace Worker.Sync;

// The worker's one connection to the API: everything observed goes up, everything desired comes down.
// Guarantees: a sync at each connection, each change and at least each period; a lost message costs one period.
// Losing the API changes nothing on the node: guests go on, what happened meanwhile is in the next report, and samples wait (SampleOutbox).
public sealed class SyncLoop(WorkerOptions options, NodeCapabilities node, NodeDevices devices, VmManager vms, FaultSampling sampling, SampleOutbox outbox, NodeReportBuilder reports, TimeProvider time, ILogger<SyncLoop> log) : BackgroundService
{
    private static readonly TimeSpan Period = TimeSpan.FromSeconds(2);
    private static readonly TimeSpan LongestPause = TimeSpan.FromSeconds(60);
    /// <summary>Another token is asked for no more often, whatever came of it.</summary>
    private static readonly TimeSpan FetchPause = TimeSpan.FromMinutes(1);
    /// <summary>Of all guests together, in messages, of which one may be a single key. What waits for one guest its console bounds in bytes.</summary>
    private const int MaxTyping = 16 * 1024;
    private static readonly TimeSpan CallLimit = TimeSpan.FromSeconds(15);
    /// <summary>Longer than the API waits for its database: that it does not answer shall be said, and not end the sessions in guests that are open over the connection.</summary>
    private static readonly TimeSpan AnswerLimit = TimeSpan.FromSeconds(75);
    /// <summary>So long it stays with an API whose database does not answer: another replica's may, to which the next connection may lead. Longer while sessions in guests are open, which would end.</summary>
    private static readonly TimeSpan LongestAway = TimeSpan.FromSeconds(30), LongestAwayWithSessions = TimeSpan.FromMinutes(5);
    private readonly NodeToken _token = new(options.TokenFile);
    private long? _fetchedAt;
    private int _typing;
    private TaskCompletionSource? _asked;
    private readonly Channel<bool> _wake = Channel.CreateBounded<bool>(new BoundedChannelOptions(1) { FullMode = BoundedChannelFullMode.DropWrite });

    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        var beside = Task.WhenAll(ForwardChangesAsync(stoppingToken), CollectAsync(stoppingToken));
        var pause = Period / 2;
        try
        {
            while (!stoppingToken.IsCancellationRequested)
            {
                var began = time.GetTimestamp();
                await ServeOneAsync(stoppingToken);
                // A connection that did not last was refused something: an API that says no must not be asked all the time.
                pause = time.GetElapsedTime(began) > LongestPause ? Period : TimeSpan.FromTicks(Math.Min(LongestPause.Ticks, pause.Ticks * 2));
                await Task.Delay(pause / 4, time, stoppingToken);
            }
        }
        catch (OperationCanceledException) when (stoppingToken.IsCancellationRequested)
        {
        }
        await beside;
    }

    /// <summary>Until a report that is built from now on has been answered; false when none was in time.</summary>
    public async Task<bool> TellAsync(TimeSpan limit)
    {
        var answered = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        Volatile.Write(ref _asked, answered);
        _wake.Writer.TryWrite(true);
        await Task.WhenAny(answered.Task, Task.Delay(limit, time));
        return answered.Task.IsCompleted;
    }

    private async Task ServeOneAsync(CancellationToken ct)
    {
        try
        {
            await ServeConnectionAsync(ct);
        }
        catch (Exception problem) when (problem is not OperationCanceledException || !ct.IsCancellationRequested)
        {
            log.LogError(problem, "Syncing with {Api} failed and begins anew", options.ApiUrl);
            await Task.Delay(Period, time, ct);
        }
    }

    private async Task ServeConnectionAsync(CancellationToken ct)
    {
        var api = new ApiConnection(new Uri(new Uri(options.ApiUrl), NodeProtocol.HubPath), _token, time, log);
        await using var connection = api.Build();
        using var ended = CancellationTokenSource.CreateLinkedTokenSource(ct);
        connection.Closed += async problem =>
        {
            log.LogWarning("The connection to the API ended: {Problem}", problem?.Message ?? "closed by the API");
            await ended.CancelAsync();
        };
        connection.On(NodeProtocol.PlanChanged, () => { _wake.Writer.TryWrite(true); });
        // Not awaited: one guest that reads no keys must not keep the others' waiting. Each console orders and bounds its own.
        connection.On<ConsoleKeys>(NodeProtocol.ConsoleInput, keys => { _ = TypeAsync(keys); });
        var sessions = new SessionRelay(connection, vms, log);
        connection.On<NodeToSession>(NodeProtocol.ToSession, sessions.Take);
        if (await api.OpenAsync(connection, ct) is { } refusal)
        {
            log.LogError("{Code}: {Message} {Remedy}", refusal.Code, refusal.Message, refusal.Remedy);
            await api.WaitForAnotherTokenAsync(ct);
            return;
        }
        log.LogInformation("Connected to {Api}", options.ApiUrl);
        var consoles = new ConsoleRelay(connection, vms, log);
        try
        {
            await Task.WhenAll(
                WhileConnectedAsync((connected, token) => SyncAsync(connected, sessions, token), ended), WhileConnectedAsync(SampleAsync, ended), WhileConnectedAsync((_, token) => consoles.RunAsync(token), ended),
                WhileConnectedAsync((_, token) => sessions.RunAsync(token), ended));
        }
        finally
        {
            await connection.StopAsync(CancellationToken.None);
        }

        // One part that ends, ends the connection and with it the others.
        async Task WhileConnectedAsync(Func<HubConnection, CancellationToken, Task> part, CancellationTokenSource end)
        {
            try
            {
                await part(connection, end.Token);
            }
            catch (Exception problem) when (problem is OperationCanceledException or IOException or InvalidOperationException or HubException or System.Net.WebSockets.WebSocketException)
            {
                if (!end.IsCancellationRequested)
                    log.LogWarning("A call to the API failed: {Problem}", problem.Message);
            }
            finally
            {
                await end.CancelAsync();
            }
        }
    }

    /// <summary>True: another token was fetched, for the next connection to show.</summary>
    private async Task<bool> FetchTokenAsync(HubConnection connection, NodePlan plan, CancellationToken ct)
    {
        var tooOld = options.TokenMaxAgeDays is { } days && time.GetUtcNow() - _token.WrittenAt > TimeSpan.FromDays(days);
        if ((!plan.RenewToken && !tooOld) || plan.ProtocolMinor < 1 || (_fetchedAt is { } at && time.GetElapsedTime(at) < FetchPause))
            return false;
        _fetchedAt = time.GetTimestamp();
        if (!NodeToken.HasForm(await connection.InvokeAsync<string>(NodeProtocol.RenewToken, ct), out var secret))
            return false;
        try
        {
            _token.Fetch(secret);
        }
        catch (Exception problem) when (problem is IOException or UnauthorizedAccessException)
        {
            log.LogError("{Code}: {Message} {Remedy}", JoinReasons.TokenNotStored.Code, JoinReasons.TokenNotStored.Say(problem.Message), JoinReasons.TokenNotStored.Remedy);
            return false;
        }
        log.LogInformation("Another token was fetched and is shown from now on");
        return true;
    }

    private async Task SyncAsync(HubConnection connection, SessionRelay sessions, CancellationToken ct)
    {
        var inventory = new InventoryNews(devices, node.Qemu, time);
        long? away = null;
        while (true)
        {
            var asked = Interlocked.Exchange(ref _asked, null);
            try
            {
                if (await ReportAsync(connection, inventory, asked, ct) is not { } isApplied)
                    return;
                away = null;
                // Told back at once: the API need not wait a period to know that its plan is applied.
                if (!isApplied)
                    continue;
            }
            catch (HubException refusal) when (refusal.Message.Contains($"{NodeProtocol.DatabaseUnavailable}:", StringComparison.Ordinal))
            {
                if (away is null)
                    log.LogWarning("The database of the API does not answer; the connection, and what is open over it, goes on");
                away ??= time.GetTimestamp();
                Interlocked.CompareExchange(ref _asked, asked, null);
                if (time.GetElapsedTime(away.Value) > (sessions.IsInUse ? LongestAwayWithSessions : LongestAway))
                {
                    log.LogWarning("The database of the API has not answered for too long; another connection is made");
                    return;
                }
            }
            await WaitAsync(ct);
        }
    }

    private async Task WaitAsync(CancellationToken ct)
    {
        using var wait = CancellationTokenSource.CreateLinkedTokenSource(ct);
        wait.CancelAfter(Period);
        try
        {
            await _wake.Reader.ReadAsync(wait.Token);
        }
        catch (OperationCanceledException) when (!ct.IsCancellationRequested)
        {
        }
    }

    /// <summary>Whether the report was of the plan that it was answered with; null: the connection is to end.</summary>
    private async Task<bool?> ReportAsync(HubConnection connection, InventoryNews inventory, TaskCompletionSource? asked, CancellationToken ct)
    {
        var report = reports.Build();
        if (inventory.Next() is { } news)
            await connection.InvokeAsync(NodeProtocol.Inventory, news, ct);
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(ct);
        limit.CancelAfter(AnswerLimit);
        var plan = await connection.InvokeAsync<NodePlan>(NodeProtocol.Sync, report, limit.Token);
        _token.Taken();
        var major = plan.Protocol == 0 ? 3 : plan.Protocol;
        if (ProtocolSkew.OfOther(major, plan.ProtocolMinor) is not ProtocolSkew.Judgement.Fits and var judgement)
        {
            var reason = judgement == ProtocolSkew.Judgement.TooOld ? JoinReasons.ApiTooOld : JoinReasons.ApiTooNew;
            log.LogError("{Code}: {Message} {Remedy}", reason.Code, reason.Say($"It speaks {major}.{plan.ProtocolMinor}, this worker {NodeProtocol.Version}.{NodeProtocol.Minor}."), reason.Remedy);
            return null;
        }
        vms.Apply(plan);
        asked?.TrySetResult();
        return await FetchTokenAsync(connection, plan, limit.Token) ? null : plan.Revision == report.AppliedPlanRevision;
    }

    private async Task SampleAsync(HubConnection connection, CancellationToken ct)
    {
        while (true)
        {
            var batch = await outbox.FirstAsync(ct);
            if (await connection.InvokeAsync<bool>(NodeProtocol.Faults, batch, ct))
                outbox.Remove(batch);
            else
                await Task.Delay(Period / 4, time, ct);
        }
    }

    /// <summary>Whether there is a connection or not: what is sampled meanwhile waits for the next.</summary>
    private async Task CollectAsync(CancellationToken ct)
    {
        try
        {
            while (true)
            {
                // A reading that cannot be said would be said again and again.
                foreach (var batch in FaultSamplesEncoding.Batches((await sampling.NextAsync(ct)).Where(FaultSamplesEncoding.IsWellFormed)))
                    outbox.Add(batch);
            }
        }
        catch (OperationCanceledException) when (ct.IsCancellationRequested)
        {
        }
    }

    private async Task TypeAsync(ConsoleKeys keys)
    {
        if (keys.Data is null || keys.Data.Length is 0 or > DashboardHubContract.MaxConsoleWriteBytes || vms.ConsoleOf(keys.SandboxId) is not { } console)
            return;
        if (Interlocked.Increment(ref _typing) > MaxTyping)
        {
            Interlocked.Decrement(ref _typing);
            log.LogWarning("Sandbox {Sandbox}: keys are dropped: too many wait for guests that read none", keys.SandboxId);
            return;
        }
        using var limit = new CancellationTokenSource(CallLimit, time);
        try
        {
            await console.WriteAsync(keys.Data, limit.Token);
        }
        catch (Exception problem) when (problem is IOException or OperationCanceledException or InvalidOperationException)
        {
            log.LogWarning("Sandbox {Sandbox}: keys could not be typed: {Problem}", keys.SandboxId, problem.Message);
        }
        finally
        {
            Interlocked.Decrement(ref _typing);
        }
    }

    private async Task ForwardChangesAsync(CancellationToken ct)
    {
        try
        {
            await foreach (var _ in vms.Changed.ReadAllAsync(ct))
                _wake.Writer.TryWrite(true);
        }
        catch (OperationCanceledException) when (ct.IsCancellationRequested)
        {
        }
    }
}

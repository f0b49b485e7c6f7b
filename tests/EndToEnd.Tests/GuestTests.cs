using System.Net.Http.Json;
using System.Text;
using System.Text.Json;
using Contracts;
using Microsoft.AspNetCore.SignalR.Client;
using Testing;
using Xunit;

namespace EndToEnd.Tests;

/// <summary>What the agent in a real guest tells, and that it goes on telling it.</summary>
public sealed class GuestTests(RunningService service)
{
    private const int TouchedPages = 64 * 1024 / 4;
    private static readonly string[] OfPageFaults = [FaultSource.GuestIoPageFaults, FaultSource.GuestIoPageFaultsSuccess, FaultSource.GuestIoPageFaultsInvalid, FaultSource.GuestIoPageFaultsFailure];

    private async Task<Guid> CreateAsync(string name, string viommu, string script, params string[] classes)
    {
        using var response = await service.Client.PostAsJsonAsync("/v1/sandboxes", new { name, image = "guest", memoryMib = 256, viommu, userData = "#!/bin/sh\n" + script, accelerators = classes.Select(c => new { @class = c }) });
        Assert.True(response.IsSuccessStatusCode, await response.Content.ReadAsStringAsync());
        return (await response.Content.ReadFromJsonAsync<SandboxView>())!.Id;
    }

    /// <summary>The first sample after a time that is as it should be.</summary>
    private async Task<FaultSampleView> SampleAsync(Guid id, Func<FaultSampleView, bool> condition, string what, DateTimeOffset after = default)
    {
        FaultSampleView? last = null;
        try
        {
            return await Eventually.GetAsync(async () => (await service.FaultsAsync(id)).FirstOrDefault(s => s.At > after && condition(last = s)), what, RunningService.Patience);
        }
        catch (TimeoutException problem)
        {
            throw new TimeoutException($"{problem.Message}; last seen: {JsonSerializer.Serialize(last)}", problem);
        }
    }

    private static long? Value(FaultSampleView sample, string source) => sample.Readings.SingleOrDefault(r => r.Source == source)?.Value;

    [Fact]
    public async Task Faults_OfAGuestsScriptAndLog_AreToldByEachAgentOfItsBoot()
    {
        // Without large pages each of the 64 MiB's pages is a fault of its own.
        var id = await CreateAsync("told", "Smmuv3", "echo never >/sys/kernel/mm/transparent_hugepage/enabled\ndd if=/dev/zero of=/dev/null bs=64M count=1\nuntil [ -e /run/go ]; do sleep 1; done\n", "edu");
        const string seen = "smmu.events.F_TRANSLATION", logged = "guestSmmu.events.F_TRANSLATION";
        var running = await SampleAsync(id, s => Value(s, FaultSource.WorkloadMinor) >= TouchedPages && Value(s, logged) > 0 && Value(s, logged) == Value(s, seen), "the script's faults and the stray access are told");
        Assert.True(running.Readings.Single(r => r.Source == logged).LowerBound);
        Assert.False(running.Readings.Single(r => r.Source == FaultSource.WorkloadMinor).LowerBound);
        Assert.All(running.Readings.Where(r => r.Source.StartsWith("guest", StringComparison.Ordinal) || r.Source.StartsWith("workload", StringComparison.Ordinal)), r => Assert.Equal(Origin.Emulated, r.Origin));
        // Debian's kernel serves no page requests, and its log has this one event and no other.
        Assert.All(OfPageFaults, source => Assert.Equal("GuestTracingMissing", running.Readings.Single(r => r.Source == source).NullReason));
        Assert.Equal(Value(running, logged), Value(running, FaultSource.GuestSmmuEvents));

        await using var console = await ConsoleViewer.OpenAsync(service, id);
        await console.UntilAsync("#");
        Assert.True((await console.Hub.InvokeAsync<ConsoleWriter>("ConsoleAcquire", id, false)).Acquired);
        Task TypeAsync(string command) => console.Hub.InvokeAsync("ConsoleWrite", id, Encoding.ASCII.GetBytes(command + "\n"));

        // Another agent reads the same log from its beginning and finds the same process.
        await TypeAsync("kill -9 $(pidof sandbox-agent); echo agents-$((40+2))");
        await console.UntilAsync("agents-42");
        var killed = TimeProvider.System.GetUtcNow();
        var again = await SampleAsync(id, s => Value(s, FaultSource.WorkloadMinor) is not null, "the next agent tells the same script", killed + TimeSpan.FromSeconds(8));
        // It may have probed again already, and sent one more.
        Assert.InRange(Value(again, logged)!.Value, Value(running, logged)!.Value, Value(running, logged)!.Value + 1);
        Assert.False(again.Readings.Single(r => r.Source == FaultSource.WorkloadMinor).LowerBound);
        Assert.True(Value(again, FaultSource.WorkloadMinor) >= Value(running, FaultSource.WorkloadMinor));
        await service.DeleteAsync(id);
        await service.NothingIsLeftAsync(id);
    }

    [Fact]
    public async Task Faults_AfterTheScriptsEnd_AreItsLastOnes()
    {
        var id = await CreateAsync("ended", "Virtio", "echo never >/sys/kernel/mm/transparent_hugepage/enabled\ndd if=/dev/zero of=/dev/null bs=64M count=1\necho script-ends\n");
        await using var console = await ConsoleViewer.OpenAsync(service, id);
        await console.UntilAsync("script-ends");
        // Its own agent has reaped it, so what is told is the kernel's account of it and changes no more.
        var ended = await SampleAsync(id, s => Value(s, FaultSource.WorkloadMinor) >= TouchedPages, "its faults are told", TimeProvider.System.GetUtcNow() + TimeSpan.FromSeconds(2));
        var later = await SampleAsync(id, s => Value(s, FaultSource.WorkloadMinor) is not null, "they are still told", ended.At + TimeSpan.FromSeconds(4));
        Assert.Equal((Value(ended, FaultSource.WorkloadMinor), Value(ended, FaultSource.WorkloadMajor)), (Value(later, FaultSource.WorkloadMinor), Value(later, FaultSource.WorkloadMajor)));
        Assert.Equal("NoSmmu", later.Readings.Single(r => r.Source == FaultSource.GuestSmmuEvents).NullReason);
        await service.DeleteAsync(id);
        await service.NothingIsLeftAsync(id);
    }

    [Fact]
    public async Task TraceTrial_InARealGuest_CountsSleepsAsPageFaultsAreCounted()
    {
        var id = await CreateAsync("trial", "None", "sandbox-agent trace-trial\nsandbox-agent trace-trial\necho trials-end\n");
        await using var console = await ConsoleViewer.OpenAsync(service, id);
        await console.UntilAsync("trials-end");
        // The shell's prompt may come before.
        const string mark = "trace-trial: {";
        var told = console.Text.Split('\n').Select(line => (Line: line, At: line.IndexOf(mark, StringComparison.Ordinal))).Where(l => l.At >= 0)
            .Select(l => ((AgentStats)JsonSerializer.Deserialize(l.Line[(l.At + mark.Length - 1)..].Trim(), AgentJson.Default.AgentMessage)!).PageFaults!).ToList();
        Assert.True(told.Count == 4, console.Text);
        // Twenty, then twenty more by the agent that found it set up; what was taken down begins anew.
        Assert.Equal([20, 40, 20, 40], told.Select(t => t.Raised));
        Assert.Equal([20, 40, 20, 40], told.Select(t => t.Latency!.Total));
        Assert.All(told, t =>
        {
            Assert.True(t.Success >= t.Raised && t.Invalid == 0 && t.Failure == 0 && !t.LowerBound, t.ToString());
            // Each took 3 ms at least.
            Assert.Equal(0, t.Latency!.Counts.Take(LatencyHistogram.BucketOf(3_000_000)).Sum());
            Assert.True(t.Latency.SumNanoseconds >= t.Raised * 2_990_000);
        });
        await service.DeleteAsync(id);
        await service.NothingIsLeftAsync(id);
    }
}

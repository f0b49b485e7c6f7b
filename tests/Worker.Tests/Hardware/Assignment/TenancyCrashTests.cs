using Contracts;
using Worker.Hardware;
using Worker.Hardware.Assignment;
using Worker.Hardware.Pci;
using Xunit;
using static Worker.Tests.Hardware.Assignment.AssignmentHost;

namespace Worker.Tests.Hardware.Assignment;

/// <summary>A worker that dies before any action of a tenancy, once or once more while the next one cleans up: in the end the host is as if none had died,
/// and the next tenant gets nothing of the one before.</summary>
public sealed class TenancyCrashTests
{
    private static readonly Guid Sandbox = Guid.NewGuid();
    private static CancellationToken Ct => TestContext.Current.CancellationToken;

    /// <summary>Neither of the host's nor of the worker's own exceptions: nothing catches it, as nothing catches a SIGKILL.</summary>
    private sealed class DiedException : Exception;

    /// <summary>What the next tenant finds.</summary>
    private sealed record Outcome(string Drivers, string Overrides, string Owned, string? Quarantine, string Holders, bool ErasedAfterTheTenant, int Vfio);

    public static TheoryData<string, bool> Tenancies => new() { { Gpu, false }, { Gpu, true }, { Nvme, false }, { Nvme, true } };

    private static async Task TenancyAsync(AssignmentHost host, AssignedDevices worker, string address)
    {
        Assert.Null(worker.TryHold(Sandbox, address));
        await worker.PrepareAsync(address, Vmm.Qemu, User, Ct);
        host.Tenant(address);
        await worker.ReleaseAsync(Sandbox, address, Ct);
    }

    private static async Task<AssignedDevices> AdoptAndReleaseAsync(AssignmentHost host, PassthroughOptions rule)
    {
        var worker = host.Worker(rule);
        worker.Adopt(Sandbox, rule.Address!);
        await worker.ReleaseAsync(Sandbox, rule.Address!, Ct);
        return worker;
    }

    /// <summary>Whether the worker died; it dies before its action of that number, counted from now.</summary>
    private static async Task<bool> DiesAsync(AssignmentHost host, int at, Func<Task> work)
    {
        var actions = 0;
        host.Kernel.Before = _ =>
        {
            if (actions++ == at)
                throw new DiedException();
        };
        try
        {
            await work();
            return false;
        }
        catch (DiedException)
        {
            return true;
        }
        finally
        {
            host.Kernel.Before = null;
        }
    }

    private static Outcome Of(AssignmentHost host, AssignedDevices worker, string address)
    {
        string[] group = address == Gpu ? [Gpu, Audio] : [Nvme];
        var done = host.Kernel.Done;
        return new Outcome(
            string.Join(' ', group.Select(host.Kernel.DriverOf)), string.Join(' ', group.Select(a => host.Files.Tree.Text($"{PciScan.Directory}/{a}/driver_override"))),
            string.Join(' ', host.Kernel.Owners.Where(o => o.Value is not null).Select(o => o.Key)), QuarantineOf(worker, address)?.Reason, string.Join(' ', worker.HeldBy(Sandbox)),
            address != Nvme || done.LastIndexOf($"erase {Nvme}") > done.LastIndexOf($"tenant {Nvme}"),
            host.Files.Tree.Names("dev/vfio/devices").Count);
    }

    /// <summary>The outcome without any death, and the number of actions until then.</summary>
    private static async Task<(Outcome Outcome, int Actions)> UninterruptedAsync(string address, bool giveBack)
    {
        using var host = new AssignmentHost();
        var actions = 0;
        host.Kernel.Before = _ => actions++;
        var worker = host.Worker(Rule(address, giveBack));
        await TenancyAsync(host, worker, address);
        return (Of(host, worker, address), actions);
    }

    [Theory]
    [MemberData(nameof(Tenancies))]
    public async Task Tenancy_WhenTheWorkerDiesBeforeAnyAction_EndsAsIfItHadNot(string address, bool giveBack)
    {
        var (expected, actions) = await UninterruptedAsync(address, giveBack);
        Assert.True(actions >= 10 && expected is { Quarantine: null, Owned: "", Holders: "", ErasedAfterTheTenant: true });
        using var host = new AssignmentHost();
        for (var at = 0; at < actions; at++)
        {
            host.Anew();
            Assert.True(await DiesAsync(host, at, () => TenancyAsync(host, host.Worker(Rule(address, giveBack)), address)), $"action {at}");
            var next = await AdoptAndReleaseAsync(host, Rule(address, giveBack));
            Assert.Equal((at, expected), (at, Of(host, next, address)));
            // What is over changes nothing, and the next tenant can come.
            var done = host.Kernel.Done.Count;
            await next.ReleaseAsync(Sandbox, address, Ct);
            Assert.Equal(done, host.Kernel.Done.Count);
            await TenancyAsync(host, next, address);
            Assert.Equal((at, expected), (at, Of(host, next, address)));
        }
    }

    [Theory]
    [MemberData(nameof(Tenancies))]
    public async Task Tenancy_WhenTheNextWorkerDiesAsWell_EndsAsIfNeitherHad(string address, bool giveBack)
    {
        var (expected, actions) = await UninterruptedAsync(address, giveBack);
        // Every pair would be some hundred hosts: each first death meets every sixth second one, and all of these are met.
        const int step = 6;
        var deaths = 0;
        using var host = new AssignmentHost();
        for (var first = 0; first < actions; first++)
            for (var second = first % step; ; second += step)
            {
                host.Anew();
                await DiesAsync(host, first, () => TenancyAsync(host, host.Worker(Rule(address, giveBack)), address));
                var died = await DiesAsync(host, second, () => AdoptAndReleaseAsync(host, Rule(address, giveBack)));
                var last = died ? await AdoptAndReleaseAsync(host, Rule(address, giveBack)) : host.Worker(Rule(address, giveBack));
                Assert.Equal((first, second, expected), (first, second, Of(host, last, address)));
                if (!died)
                    break;
                deaths++;
            }
        Assert.InRange(deaths, actions / 2, int.MaxValue);
    }

    [Theory]
    [MemberData(nameof(Tenancies))]
    public async Task Prepare_AfterADeathThatNobodyCleanedUp_ErasesBeforeTheNextTenant(string address, bool giveBack)
    {
        var (_, actions) = await UninterruptedAsync(address, giveBack);
        using var host = new AssignmentHost();
        for (var at = 0; at < actions; at++)
        {
            host.Anew();
            await DiesAsync(host, at, () => TenancyAsync(host, host.Worker(Rule(address, giveBack)), address));
            var next = host.Worker(Rule(address, giveBack));
            Assert.Null(next.TryHold(Guid.NewGuid(), address));
            host.Kernel.Done.Add("next");
            var ready = await next.PrepareAsync(address, Vmm.Qemu, User + 1, Ct);
            var since = host.Kernel.Done[(host.Kernel.Done.LastIndexOf("next") + 1)..];
            Assert.Equal((at, address == Nvme, $"reset flr {address}"), (at, since.Contains($"erase {Nvme}"), since[^1]));
            Assert.Equal(User + 1, host.Kernel.Owners[ready.DeviceNode]);
        }
    }
}

using Contracts;
using Testing;

namespace Benchmarks;

/// <summary>What the service costs a booting guest: from exec to the agent's Ready, beside the bare command line with the same kernel, in turns.</summary>
internal static class BootTime
{
    private const int WarmUps = 1, Pairs = 8;

    public static async Task RunAsync(Report report)
    {
        await using var service = new RunningService();
        await service.InitializeAsync();
        var ours = new List<double>();
        var bare = new List<double>();
        for (var pair = 0; pair < WarmUps + Pairs; pair++)
        {
            // Whoever comes first in a pair changes, so that neither gains by the order.
            double ofOurs, ofBare;
            if (pair % 2 == 0)
                (ofOurs, ofBare) = (await OursAsync(service, $"boot{pair}"), await BareAsync());
            else
                (ofBare, ofOurs) = (await BareAsync(), await OursAsync(service, $"boot{pair}"));
            report.Say($"pair {pair}: {ofOurs:0.00} s, bare {ofBare:0.00} s");
            if (pair < WarmUps)
                continue;
            ours.Add(ofOurs);
            bare.Add(ofBare);
        }
        report.Note($"exec to GuestReady, {Pairs} pairs in turns, 1 vCPU, 256 MiB, smmuv3, no accelerator.");
        report.Add("sandbox, median", Report.Median(ours), "s", "bare command line, median", Report.Median(bare), "at most 1.10");
        report.Add("sandbox, fastest", ours.Min(), "s", "bare, fastest", bare.Min());
    }

    private static async Task<double> OursAsync(RunningService service, string name)
    {
        var id = (await service.CreateAsync(name)).Id;
        var view = await service.UntilAsync(id, v => v.GuestReadyAt is not null || v.Phase == Phase.Failed, "the guest is ready");
        await service.DeleteAsync(id);
        return (view.GuestReadyAt!.Value - view.ExecAt!.Value).TotalSeconds;
    }

    private static async Task<double> BareAsync()
    {
        using var limit = new CancellationTokenSource(RunningService.Patience);
        await using var guest = BareGuest.Start();
        await guest.HearAsync<AgentReady>(limit.Token);
        return (TimeProvider.System.GetUtcNow() - guest.StartedAt).TotalSeconds;
    }
}

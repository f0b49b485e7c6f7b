using System.Text.Json.Nodes;
using Contracts;
using Microsoft.Extensions.Logging.Abstractions;
using Testing;
using Worker.Vms.Qemu;

namespace Benchmarks;

/// <summary>What QEMU's trace events cost a guest whose device translates through the SMMU: direct NVMe reads, the events switched on and off
/// in turns in one guest. An event that costs more than 5 % is off by default (NullReasons.TraceCostTooHigh).</summary>
internal static class TraceCost
{
    private const int Pairs = 120, Mib = 32;
    private static readonly (string Name, string[] Events)[] Sets =
    [
        ("nothing switched", []),
        ("faults by type", ["smmuv3_record_event"]),
        ("TLB hits", ["smmu_iotlb_lookup_hit"]),
        ("TLB misses", ["smmu_iotlb_lookup_miss"]),
        ("TLB hits and misses", ["smmu_iotlb_lookup_hit", "smmu_iotlb_lookup_miss"]),
    ];

    public static async Task RunAsync(Report report)
    {
        using var limit = new CancellationTokenSource(TimeSpan.FromMinutes(20));
        var ct = limit.Token;
        await using var guest = BareGuest.Start(
            "-device", "pcie-root-port,id=rp0,chassis=1", "-drive", $"if=none,id=disk0,format=raw,file={BareGuest.Disk(Mib)}", "-device", "nvme,bus=rp0,drive=disk0,serial=bench");
        await guest.HearAsync<AgentReady>(ct);
        await guest.HearAsync<AgentProbe>(ct);
        await using var qmp = await QmpClient.ConnectAsync(guest.ControlSocket, TimeProvider.System, NullLogger.Instance, ct);
        var number = 0;
        async Task<double> ReadAsync()
        {
            await guest.Agent.SendAsync(new AgentBlockRead(++number, Mib), ct);
            var done = await guest.HearAsync<AgentBlockReadDone>(ct);
            return done.Error is null ? done.ElapsedMicroseconds / 1000.0 : throw new InvalidOperationException(done.Error);
        }
        async Task SwitchAsync(string[] events, bool on)
        {
            foreach (var name in events)
                await qmp.ExecuteAsync("trace-event-set-state", new JsonObject { ["name"] = name, ["enable"] = on, ["ignore-unavailable"] = true }, ct);
        }

        await ReadAsync();
        foreach (var (name, events) in Sets)
        {
            var (with, without, ratios) = (new List<double>(), new List<double>(), new List<double>());
            for (var pair = 0; pair < Pairs; pair++)
            {
                foreach (var on in (bool[])[pair % 2 == 0, pair % 2 == 1])
                {
                    await SwitchAsync(events, on);
                    (on ? with : without).Add(await ReadAsync());
                }
                await SwitchAsync(events, false);
                ratios.Add(with[^1] / without[^1]);
            }
            report.Say($"{name}: ratios of the pairs from {ratios.Min():0.00} to {ratios.Max():0.00}, median {Report.Median(ratios):0.00}");
            report.Add(name, Report.Median(with), "ms", "off, in the same guest", Report.Median(without), events.Length == 0 ? "noise" : "above 1.05: off by default");
        }
        report.Note($"{Pairs} pairs each of direct reads of {Mib} MiB from an emulated NVMe drive behind the SMMU, medians; faults do not occur in them.");
    }
}

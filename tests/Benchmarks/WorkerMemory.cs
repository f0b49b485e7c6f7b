using System.Globalization;
using Contracts;
using Testing;

namespace Benchmarks;

/// <summary>The worker's own resident memory (VmRSS), without the VMMs, which are processes of their own.</summary>
internal static class WorkerMemory
{
    private const int Many = 20;

    public static async Task RunAsync(Report report)
    {
        await using var service = new RunningService();
        await service.InitializeAsync();
        var none = await SettledMibAsync(service);
        await GrowAsync(service, 0, 1, report);
        var one = await SettledMibAsync(service);
        await GrowAsync(service, 1, Many, report);
        var many = await SettledMibAsync(service);
        report.Note($"The worker as ./sandbox up runs it, resident memory, median of {Samples} readings a second apart with every guest ready and its telemetry flowing.");
        report.Add("1 sandbox", one, "MiB", "no sandbox", none);
        report.Add($"{Many} sandboxes", many, "MiB", "1 sandbox", one);
        report.Add("one more sandbox", (many - one) / (Many - 1), "MiB", "no sandbox", none);
    }

    private const int Samples = 15;

    private static async Task GrowAsync(RunningService service, int from, int to, Report report)
    {
        var ids = new List<Guid>();
        for (var number = from; number < to; number++)
            ids.Add((await service.CreateAsync($"m{number}")).Id);
        foreach (var id in ids)
            await service.UntilAsync(id, v => v.GuestReadyAt is not null, "the guest is ready", TimeSpan.FromMinutes(15));
        report.Say($"{to} guests are ready");
    }

    private static async Task<double> SettledMibAsync(RunningService service)
    {
        using var second = new PeriodicTimer(TimeSpan.FromSeconds(1));
        var readings = new List<double>();
        while (readings.Count < Samples && await second.WaitForNextTickAsync())
        {
            var line = (await File.ReadAllLinesAsync($"/proc/{service.Worker.Id}/status")).First(l => l.StartsWith("VmRSS:", StringComparison.Ordinal));
            readings.Add(double.Parse(line.Split(' ', StringSplitOptions.RemoveEmptyEntries)[1], CultureInfo.InvariantCulture) / 1024);
        }
        return Report.Median(readings);
    }
}

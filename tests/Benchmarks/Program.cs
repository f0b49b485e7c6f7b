using Benchmarks;

// Every figure is a ratio in one run beside a stated baseline: absolute times of a shared machine say little.
var benchmarks = new (string Name, Func<Report, Task> Run)[]
{
    ("start", StartLatency.RunAsync),
    ("boot", BootTime.RunAsync),
    ("requests", RequestRates.RunAsync),
    ("memory", WorkerMemory.RunAsync),
    ("trace", TraceCost.RunAsync),
    ("scan", HostScan.RunAsync),
    ("faults", FaultHistory.RunAsync),
    ("simulation", Simulation.RunAsync),
    ("fleet", Fleet.RunAsync),
    ("placement", PlacementRates.RunAsync),
    ("webhooks", WebhookRates.RunAsync),
};
if (args is ["bare-endpoint", var connectionFile, var url])
    return await BareEndpoint.ServeAsync(connectionFile, url);
if (args.FirstOrDefault(name => benchmarks.All(b => b.Name != name)) is { } unknown)
{
    await Console.Error.WriteLineAsync($"there is no benchmark '{unknown}'; there are: {string.Join(", ", benchmarks.Select(b => b.Name))}");
    return 2;
}
foreach (var (name, run) in benchmarks.Where(b => args.Length == 0 || args.Contains(b.Name)))
{
    var report = new Report(name);
    await run(report);
    report.Print();
}
return 0;

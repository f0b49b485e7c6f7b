using System.Diagnostics;
using System.Net;
using System.Net.Http.Json;
using System.Text.Json;
using System.Text.RegularExpressions;
using Api.Metrics;
using Contracts;
using Microsoft.AspNetCore.SignalR.Client;
using Testing;
using Xunit;

namespace Api.Tests.Metrics;

public sealed partial class MetricsTests(ServiceFixture service) : IClassFixture<ServiceFixture>
{
    [GeneratedRegex("sandbox_[a-z_]+")]
    private static partial Regex MetricName { get; }

    private static HashSet<string> Known => [.. ServiceMetrics.All.Concat(FaultMetrics.Metrics).SelectMany(m => m.Kind == MetricKind.Histogram ? (string[])[m.Name + "_bucket", m.Name + "_sum", m.Name + "_count"] : [m.Name])];

    private static string Deployed(string file) => Path.Combine(Surroundings.Repository, "deploy", file);

    [Fact]
    public async Task Get_WithTheLatestSamples_IsWhatPromtoolAccepts()
    {
        // Its own: what is counted of a whole service is no other test's, whichever the paths' order puts first.
        await using var alone = new ServiceFixture();
        await alone.InitializeAsync();
        await CountsAsync(alone);
    }

    private static async Task CountsAsync(ServiceFixture service)
    {
        using var client = service.Client();
        await using var node = await service.NodeAsync();
        var id = (await client.CreateAsync("metrics")).Id;
        await Eventually.Async(async () => (await node.SyncAsync()).Sandboxes.Any(s => s.Id == id), "it is planned");
        await node.SayAsync(id, VmState.Running);
        await node.TellAsync(
            new FaultSample(id, 1, TimeProvider.System.GetUtcNow(), [new(FaultSource.VmmMinor, 7, null, true, Origin.Emulated), new(FaultSource.SmmuEvents, null, "NoSmmu", false, Origin.Emulated)]),
            new FaultSample(Guid.NewGuid(), 1, TimeProvider.System.GetUtcNow(), [new(FaultSource.VmmMinor, 666, null, false, Origin.Emulated)]));
        using var response = await client.GetAsync("/metrics");
        var text = await response.Content.ReadAsStringAsync();
        Assert.Equal("text/plain", response.Content.Headers.ContentType!.MediaType);
        Assert.Contains($"\nsandbox_vmm_page_faults_total{{sandbox=\"{id}\",severity=\"minor\",bound=\"lower\",origin=\"emulated\"}} 7\n", text, StringComparison.Ordinal);
        Assert.Contains($"\nsandbox_fault_source_unobserved{{sandbox=\"{id}\",source=\"smmu.events\",reason=\"NoSmmu\"}} 1\n", text, StringComparison.Ordinal);
        Assert.Contains("\nsandbox_sandboxes{phase=\"Running\"} 1\n", text, StringComparison.Ordinal);
        Assert.Contains("\nsandbox_devices{class=\"edu\",phase=\"Available\",verdict=\"PassthroughOnly\",origin=\"emulated\"} 2\n", text, StringComparison.Ordinal);
        Assert.Contains("\nsandbox_fault_samples_accepted_total 1\n", text, StringComparison.Ordinal);
        Assert.Contains("\nsandbox_fault_samples_refused_total 1\n", text, StringComparison.Ordinal);
        Assert.DoesNotContain("} 666\n", text, StringComparison.Ordinal);
        Assert.Equal(Known.Where(n => !n.EndsWith("_bucket", StringComparison.Ordinal) && !n.EndsWith("_sum", StringComparison.Ordinal) && !n.EndsWith("_count", StringComparison.Ordinal)).Order(),
            Regex.Matches(text, "^# TYPE (\\S+) (?:counter|gauge)", RegexOptions.Multiline).Select(m => m.Groups[1].Value).Order());
        await PromtoolAsync(["check", "metrics"], text);
    }

    [Fact]
    public async Task Get_WhenANodeTellsAbsurdities_StillAnswers_AndItsTypesAreCountedTogether()
    {
        using var client = service.Client();
        await using var node = await service.NodeAsync();
        var id = (await client.CreateAsync("absurd")).Id;
        await Eventually.Async(async () => (await node.SyncAsync()).Sandboxes.Any(s => s.Id == id), "it is planned");
        await node.SayAsync(id, VmState.Running);
        await node.TellAsync(new FaultSample(id, 1, TimeProvider.System.GetUtcNow(), [
            new("cgroup.memoryStallSomeMicroseconds", long.MaxValue, null, false, Origin.Emulated),
            new("smmu.events.F_TRANSLATION", 5, null, false, Origin.Emulated),
            .. Enumerable.Range(0, 100).Select(n => new SourceReading($"smmu.events.made-up-{n}", 2, null, n == 50, Origin.Emulated))]));
        var text = await client.GetStringAsync("/metrics");
        Assert.Contains("9223372036854.775807\n", text, StringComparison.Ordinal);
        var types = text.Split('\n').Where(l => l.StartsWith("sandbox_smmu_events_by_type_total{", StringComparison.Ordinal) && l.Contains(id.ToString(), StringComparison.Ordinal)).ToList();
        Assert.Equal(2, types.Count);
        Assert.Contains(types, l => l.Contains("type=\"F_TRANSLATION\",bound=\"exact\"", StringComparison.Ordinal) && l.EndsWith(" 5", StringComparison.Ordinal));
        Assert.Contains(types, l => l.Contains("type=\"other\",bound=\"lower\"", StringComparison.Ordinal) && l.EndsWith(" 200", StringComparison.Ordinal));
        await PromtoolAsync(["check", "metrics"], text);
    }

    [Fact]
    public async Task Get_WithoutAKey_Returns401()
    {
        using var stranger = service.Factory.CreateClient();
        using var response = await stranger.GetAsync("/metrics");
        Assert.Equal(HttpStatusCode.Unauthorized, response.StatusCode);
    }

    [Theory]
    [InlineData("rules", "prometheus/alerts.yml")]
    [InlineData("config", "prometheus/prometheus.yml")]
    public Task Deployed_ForPrometheus_IsWhatPromtoolAccepts(string what, string file) =>
        PromtoolAsync(what == "config" ? ["check", "config", "--syntax-only", Deployed(file)] : ["check", what, Deployed(file)], "");

    [Theory]
    [InlineData("prometheus/alerts.yml")]
    [InlineData("prometheus/alerts_test.yml")]
    [InlineData("grafana/sandbox.json")]
    [InlineData("../docs/metrics.md")]
    public void Deployed_NamesOnlyMetricsThatAreThere(string file)
    {
        var named = MetricName.Matches(File.ReadAllText(Deployed(file))).Select(m => m.Value).ToHashSet();
        Assert.NotEmpty(named);
        Assert.Empty(named.Except(Known).Except(FaultMetrics.Metrics.Concat(NodeMetrics.All).Select(m => m.Name)));
    }

    [Fact]
    public Task Alerts_OfWhatApiAndWorkerBothTell_CountItOnce() => PromtoolAsync(["test", "rules", Deployed("prometheus/alerts_test.yml")], "");

    [Fact]
    public void Document_ListsEveryMetric() =>
        Assert.Empty(ServiceMetrics.All.Concat(FaultMetrics.Metrics).Concat(NodeMetrics.All).Select(m => m.Name).Except(MetricName.Matches(File.ReadAllText(Deployed("../docs/metrics.md"))).Select(m => m.Value)));

    [Fact]
    public void Dashboard_IsWhole()
    {
        using var dashboard = JsonDocument.Parse(File.ReadAllText(Deployed("grafana/sandbox.json")));
        var panels = dashboard.RootElement.GetProperty("panels").EnumerateArray().ToList();
        Assert.All(panels, panel => Assert.NotEmpty(panel.GetProperty("targets").EnumerateArray()));
        // API and worker tell the same series: without this each line would be there twice.
        Assert.All(panels.SelectMany(panel => panel.GetProperty("targets").EnumerateArray()),
            target => Assert.Contains(" without (instance, job) (", target.GetProperty("expr").GetString(), StringComparison.Ordinal));
    }

    /// <summary>A total of which the types are shown is their sum.</summary>
    [Fact]
    public void Dashboard_ShowsEveryMetricOfFaults()
    {
        var shown = MetricName.Matches(File.ReadAllText(Deployed("grafana/sandbox.json"))).Select(m => m.Value).ToHashSet();
        var byType = FaultMetricTable.Rows.Where(row => row.ByType is not null).ToList();
        Assert.NotEmpty(byType);
        Assert.All(FaultMetrics.Metrics.Concat(NodeMetrics.All).Select(m => m.Name).Except(byType.Select(row => row.Name)), name => Assert.True(shown.Contains(name) || shown.Contains(name + "_bucket"), name));
    }

    private static async Task PromtoolAsync(string[] arguments, string input)
    {
        var promtool = SkipReason.PromtoolOrSkip()!;
        using var process = Process.Start(new ProcessStartInfo(promtool, arguments) { RedirectStandardInput = true, RedirectStandardOutput = true, RedirectStandardError = true })!;
        await process.StandardInput.WriteAsync(input);
        process.StandardInput.Close();
        var said = await process.StandardOutput.ReadToEndAsync() + await process.StandardError.ReadToEndAsync();
        await process.WaitForExitAsync();
        Assert.True(process.ExitCode == 0, said);
    }
}

using Microsoft.Extensions.Configuration;
using Xunit;

namespace Worker.Tests.Checks;

/// <summary>deploy/systemd/worker.env.example is taken by the worker, the settings in its comments as well.</summary>
public sealed class EnvExampleTests
{
    [Fact]
    public void Example_WithEverySettingOn_IsTaken()
    {
        var lines = File.ReadAllLines(Path.Combine(Environment.GetEnvironmentVariable("SANDBOX_REPOSITORY")!, "deploy/systemd/worker.env.example"));
        var settings = lines.Select(line => line.TrimStart('#')).Where(line => line.StartsWith("Worker__", StringComparison.Ordinal))
            .Select(line => line.Split('=', 2)).ToDictionary(pair => pair[0].Replace("__", ":", StringComparison.Ordinal), string? (pair) => pair[1]);
        Assert.True(settings.Count > 15, $"only {settings.Count} settings");
        var options = new ConfigurationBuilder().AddInMemoryCollection(settings).Build()
            .GetSection(WorkerOptions.Section).Get<WorkerOptions>(binder => binder.ErrorOnUnknownConfiguration = true)!;
        Assert.Empty(options.Problems());
        Assert.Equal(2, options.Passthrough.Count);
    }
}

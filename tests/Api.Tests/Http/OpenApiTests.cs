using System.Diagnostics;
using System.Text.Json.Nodes;
using System.Text.RegularExpressions;
using Api.Http;
using Api.Sandboxes;
using Testing;
using Xunit;

namespace Api.Tests.Http;

/// <summary>The document of the API is whole, and clean under the linters of the field.</summary>
public sealed partial class OpenApiTests(ServiceFixture service) : IClassFixture<ServiceFixture>
{
    [GeneratedRegex(@"Of\((?:StatusCodes\.Status)?(\d{3})\w*, ""([a-z_]+)""")]
    private static partial Regex Refusal();

    // Not the tool's own of its platform.
    [GeneratedRegex(@"\d+ warning")]
    private static partial Regex Warnings();

    private async Task<JsonObject> DocumentAsync()
    {
        using var client = service.Client();
        return JsonNode.Parse(await client.GetStringAsync("/openapi/v1.json"))!.AsObject();
    }

    private static IEnumerable<(string Name, JsonObject Operation)> Operations(JsonObject document) =>
        from path in document["paths"]!.AsObject() from operation in path.Value!.AsObject() select ($"{operation.Key.ToUpperInvariant()} {path.Key}", operation.Value!.AsObject());

    [Fact]
    public void EveryCodeOfTheSources_IsInTheTable_WithItsStatus()
    {
        var used = Directory.EnumerateFiles(Path.Combine(Surroundings.Repository, "api"), "*.cs", SearchOption.AllDirectories)
            .Where(f => !f.Contains("/obj/", StringComparison.Ordinal) && !f.Contains("/bin/", StringComparison.Ordinal))
            .SelectMany(f => Refusal().Matches(File.ReadAllText(f))).Select(m => $"{m.Groups[1].Value} {m.Groups[2].Value}").ToHashSet();
        Assert.True(used.Count > 30);
        Assert.Equal(used.Order(StringComparer.Ordinal), ErrorCodes.All.Select(c => $"{c.Status} {c.Code}").Order(StringComparer.Ordinal));
    }

    [Fact]
    public async Task EveryOperation_SaysWhomItTakes_WhatItAnswers_AndEveryCode()
    {
        var document = await DocumentAsync();
        Assert.StartsWith("3.1", document["openapi"]!.GetValue<string>(), StringComparison.Ordinal);
        var operations = Operations(document).ToList();
        Assert.True(operations.Count > 35);
        Assert.Equal(operations.Count, operations.Select(o => o.Operation["operationId"]!.GetValue<string>()).Distinct().Count());
        foreach (var (name, operation) in operations)
        {
            Assert.False(string.IsNullOrWhiteSpace(operation["description"]?.GetValue<string>()), name);
            var open = operation["security"]!.AsArray().Count == 0;
            Assert.Equal((name, name is "GET /health" or "POST /v1/session"), (name, open));
            foreach (var (status, response) in operation["responses"]!.AsObject().Where(r => r.Key[0] is '4' or '5'))
            {
                Assert.Matches("`[a-z_]+`: ", response!["description"]!.GetValue<string>());
                Assert.True(response["content"]?["application/problem+json"]?["examples"] is not null, $"{name} {status}");
                Assert.True(response["content"]!["application/problem+json"]!["examples"]!.AsObject().Count > 0, $"{name} {status}");
            }
            if (!open) foreach (var status in (string[])["401", "429", "503"]) Assert.True(operation["responses"]!.AsObject().ContainsKey(status), $"{name} {status}");
        }
        var schemas = document["components"]!["schemas"]!;
        foreach (var body in (string[])["SandboxCreate", "ProjectCreate", "KeyCreate", "SandboxPatch"]) Assert.NotEmpty(schemas[body]!["examples"]!.AsArray());
    }

    [Fact]
    public async Task CodesOfTheOperations_AreThoseOfTheTable_AndBodiesSayWhatTheyTake()
    {
        var document = await DocumentAsync();
        var declared = new HashSet<string>();
        foreach (var (name, operation) in Operations(document))
        {
            var responses = operation["responses"]!.AsObject();
            foreach (var (status, response) in responses.Where(r => r.Key[0] is '4' or '5'))
                declared.UnionWith(response!["content"]!["application/problem+json"]!["examples"]!.AsObject().Select(e => $"{status} {e.Key}"));
            if (name != "GET /health") Assert.True(responses.ContainsKey("500") && responses.ContainsKey("503"), name);
            if (operation["requestBody"] is not { } body) continue;
            foreach (var status in (string[])["400", "413", "415"]) Assert.True(responses.ContainsKey(status), $"{name} {status}");
            var optional = name.EndsWith("/rotate", StringComparison.Ordinal) || name.EndsWith("/rotate-secret", StringComparison.Ordinal) || name.EndsWith("/quarantine", StringComparison.Ordinal) || name.EndsWith("/drain", StringComparison.Ordinal) || name.EndsWith("/maintenance", StringComparison.Ordinal);
            Assert.Equal((name, !optional), (name, body["required"]?.GetValue<bool>() ?? false));
        }
        var outside = ErrorCodes.OfNoOperation.Select(c => c.Code).ToList();
        Assert.Equal(ErrorCodes.All.Where(c => !c.Tags.Contains("NodeHub") && !outside.Contains(c.Code)).Select(c => $"{c.Status} {c.Code}").Order(StringComparer.Ordinal), declared.Order(StringComparer.Ordinal));
        foreach (var code in outside) Assert.Contains($"`{code}`", document["info"]!["description"]!.GetValue<string>(), StringComparison.Ordinal);

        var schemas = document["components"]!["schemas"]!;
        Assert.Equal(["name", "image"], schemas["SandboxCreate"]!["required"]!.AsArray().Select(r => r!.GetValue<string>()));
        Assert.Equal(["image"], schemas["PlacementTry"]!["required"]!.AsArray().Select(r => r!.GetValue<string>()));
        var vcpus = schemas["SandboxCreate"]!["properties"]!["vcpus"]!;
        Assert.Equal((1, SandboxValidation.MaxVcpus), (vcpus["minimum"]!.GetValue<int>(), vcpus["maximum"]!.GetValue<int>()));
        Assert.Contains("null", schemas["SandboxPatch"]!["properties"]!["restart"]!["type"]!.AsArray().Select(t => t!.GetValue<string>()));
        foreach (var (name, field) in (ReadOnlySpan<(string, string)>)[("SandboxCreate", "hugePages"), ("AcceleratorCount", "minVerdict")])
            Assert.Contains(null, schemas[name]!["properties"]![field]!["enum"]!.AsArray());
        Assert.Null(schemas["SandboxPatch"]!["properties"]!["restart"]!["required"]);
        foreach (var name in (string[])["LeaseRequest", "StormPolicyRequest", "PlacementView", "SandboxView", "KeyCreated"]) Assert.NotEmpty(schemas[name]!["examples"]!.AsArray());
    }

    [Fact]
    public async Task Document_IsCleanUnderSpectralAndRedocly()
    {
        var tools = SkipReason.OpenApiToolsOrSkip();
        var file = Path.Combine(Surroundings.NewDirectory("openapi"), "openapi.json");
        await File.WriteAllTextAsync(file, (await DocumentAsync()).ToJsonString(), TestContext.Current.CancellationToken);
        var rules = Path.Combine(Surroundings.Repository, "tests/OpenApi");
        Assert.Equal("", await RunAsync(Path.Combine(tools!, "node_modules/.bin/spectral"), "lint", "--quiet", "--fail-severity", "warn", "--ruleset", Path.Combine(rules, "spectral.yaml"), file));
        Assert.Equal("", await RunAsync(Path.Combine(tools!, "node_modules/.bin/redocly"), "lint", "--config", Path.Combine(rules, "redocly.yaml"), "--max-problems", "50", "--format", "stylish", file));
    }

    /// <summary>Empty when it found nothing, else what it said.</summary>
    private static async Task<string> RunAsync(string program, params string[] arguments)
    {
        var start = new ProcessStartInfo(program) { RedirectStandardOutput = true, RedirectStandardError = true };
        foreach (var argument in arguments) start.ArgumentList.Add(argument);
        (start.Environment["REDOCLY_TELEMETRY"], start.Environment["REDOCLY_SUPPRESS_UPDATE_NOTICE"], start.Environment["NO_COLOR"]) = ("off", "true", "1");
        using var process = Process.Start(start)!;
        var said = await Task.WhenAll(process.StandardOutput.ReadToEndAsync(), process.StandardError.ReadToEndAsync());
        await process.WaitForExitAsync();
        var text = string.Join('\n', said).Trim();
        return process.ExitCode == 0 && !Warnings().IsMatch(text) ? "" : $"{Path.GetFileName(program)} {process.ExitCode}: {text}";
    }
}

using System.Text.Json.Nodes;
using Testing;
using Xunit;

namespace EndToEnd.Tests;

/// <summary>A client that a tool of the field generates from the API's document compiles under the strictest rules, and drives a sandbox through its life.</summary>
public sealed class GeneratedClientTests(RunningService service)
{
    [Fact]
    public async Task Client_GeneratedFromTheDocument_CompilesAndDrivesASandbox()
    {
        var tools = Path.Combine(SkipReason.OpenApiToolsOrSkip()!, "node_modules");
        var directory = Surroundings.NewDirectory("generated");
        var ct = TestContext.Current.CancellationToken;
        Directory.CreateSymbolicLink(Path.Combine(directory, "node_modules"), tools);
        await File.WriteAllTextAsync(Path.Combine(directory, "openapi.json"), await service.Client.GetStringAsync("/openapi/v1.json", ct), ct);
        File.Copy(Path.Combine(Surroundings.Repository, "tests/OpenApi/client.mts"), Path.Combine(directory, "client.mts"));
        await RunAsync(directory, Path.Combine(tools, ".bin/openapi-typescript"), "openapi.json", "--output", "api.d.ts");
        await RunAsync(directory, Path.Combine(tools, ".bin/tsc"), "--strict", "--exactOptionalPropertyTypes", "--target", "es2022", "--module", "nodenext", "--types", "node", "--rewriteRelativeImportExtensions", "client.mts");
        var told = JsonNode.Parse((await RunAsync(directory, "node", "client.mjs", service.BaseAddress, service.AdminKey, "generated")).Split('\n')[^1])!;
        Assert.Equal(
            """{"sameTwice":true,"phase":"Running","origin":"Simulated","listed":[true],"hasVersion":true,"stale":412,"labels":{"team":"generated","stage":"two"},"refused":{"status":422,"fields":["vcpus"]},"created":"sandbox.created","deleted":202}""",
            told.ToJsonString());
    }

    private static async Task<string> RunAsync(string directory, string program, params string[] arguments)
    {
        await using var process = ProcessUnderTest.Start(program, arguments, workingDirectory: directory);
        var status = await process.WaitForExitAsync(RunningService.Patience);
        Assert.True(status == 0, $"{Path.GetFileName(program)} {status}: {process.Output}");
        return process.Output.Trim();
    }
}

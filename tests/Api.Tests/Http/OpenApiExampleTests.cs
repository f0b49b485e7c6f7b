using System.Text.Json;
using System.Text.Json.Nodes;
using Testing;
using Xunit;

namespace Api.Tests.Http;

/// <summary>Whatever an operation takes or answers as an object has an example, and each example is one.</summary>
public sealed class OpenApiExampleTests(ServiceFixture service) : IClassFixture<ServiceFixture>
{
    private const string Components = "#/components/schemas/";

    private async Task<JsonObject> DocumentAsync()
    {
        using var client = service.Client();
        return JsonNode.Parse(await client.GetStringAsync("/openapi/v1.json"))!.AsObject();
    }

    [Fact]
    public async Task EveryObjectOfABody_HasAnExample()
    {
        var document = await DocumentAsync();
        var reached = Reached(document);
        Assert.Superset(new HashSet<string> { "SandboxView", "PageOfNodeView", "PlacementTry", "FaultReadingView", "LatencyQuantile", "VerdictLink", "ExecAnswer", "ExecLine", "ProblemDetails", "UacceFacts" }, reached);
        var schemas = document["components"]!["schemas"]!.AsObject();
        Assert.Empty(schemas.Select(s => s.Key).Except(reached));
        foreach (var name in reached.Where(name => schemas[name]!["properties"] is not null)) Assert.True(schemas[name]!["examples"] is JsonArray { Count: > 0 }, name);
    }

    [Fact]
    public async Task EveryExample_IsOneOfItsSchema()
    {
        var document = await DocumentAsync();
        var (problems, seen) = (new List<string>(), 0);
        foreach (var (place, schema) in All(document, "#").Where(s => s.Node["examples"] is JsonArray))
            foreach (var example in schema["examples"]!.AsArray())
            {
                seen++;
                problems.AddRange(Problems(document, schema, example, place));
            }
        foreach (var (place, media) in All(document, "#").Where(s => s.Node["schema"] is JsonObject && s.Node["examples"] is JsonObject))
            foreach (var (name, example) in media["examples"]!.AsObject())
            {
                seen++;
                problems.AddRange(Problems(document, media["schema"]!.AsObject(), example!["value"], $"{place} {name}"));
            }
        Assert.Empty(problems);
        Assert.True(seen > 500, $"{seen}");
    }

    /// <summary>Codes of links and conditions have no type that would hold them: they are those of the documents that are written from the worker's tables.</summary>
    [Fact]
    public async Task ReasonsOfExamples_AreThoseOfTheDocuments_AndNothingIsHardware()
    {
        var schemas = (await DocumentAsync())["components"]!["schemas"]!.AsObject();
        string[] node = File.ReadAllLines(Path.Combine(Surroundings.Repository, "docs/neoverse-node.md")), metrics = File.ReadAllLines(Path.Combine(Surroundings.Repository, "docs/metrics.md"));
        string Text(JsonObject of, string field) => of[field]?.GetValue<string>() ?? "";
        var parts = schemas.SelectMany(s => s.Value!["examples"] is JsonArray examples ? All(examples, s.Key) : []).ToList();
        var links = parts.Where(p => p.Node.ContainsKey("link")).ToList();
        Assert.True(links.Count > 20);
        foreach (var (place, link) in links)
            Assert.True(node.Any(row => row.StartsWith($"| `{Text(link, "reason")}` |", StringComparison.Ordinal) && row.EndsWith($" | {Text(link, "remedy")} |", StringComparison.Ordinal)
                && row.Split(" | ") is [_, _, var status, var message, ..] && status == Text(link, "status") && Text(link, "message").StartsWith(message, StringComparison.Ordinal)), $"{place}: {link}");
        var conditions = parts.Where(p => p.Node.ContainsKey("since") && p.Node.ContainsKey("type") && Text(p.Node, "type") != "Placed").ToList();
        Assert.True(conditions.Count > 5);
        foreach (var (place, condition) in conditions)
            Assert.True(node.Any(row => row.StartsWith($"| `{Text(condition, "reason")}` | {Text(condition, "type")} | {Text(condition, "status")} | ", StringComparison.Ordinal)
                && Text(condition, "message").StartsWith(row.Split(" | ")[3].TrimEnd(' ', '|'), StringComparison.Ordinal)), $"{place}: {condition}");
        var unseen = parts.Where(p => p.Node.ContainsKey("nullReason")).ToList();
        Assert.Contains(unseen, p => p.Node["value"] is null);
        foreach (var (place, reading) in unseen)
            Assert.True(reading.ContainsKey("value") && (reading["value"] is null) == (reading["nullReason"] is not null) && (reading["nullReason"] is null || metrics.Any(row => row.Contains($"`{Text(reading, "nullReason")}`", StringComparison.Ordinal)))
                || reading.ContainsKey("total") && (reading["total"] is null) == (reading["nullReason"] is not null), $"{place}: {reading}");
        Assert.DoesNotContain(parts, p => Text(p.Node, "origin") == "Hardware");
    }

    [Fact]
    public async Task WhatIsWrittenInPlace_SaysWhereNullIsTaken()
    {
        var document = await DocumentAsync();
        var (schemas, seen) = (document["components"]!["schemas"]!, 0);
        foreach (var (field, property) in schemas["PlacementTry"]!["properties"]!.AsObject().Where(f => f.Key is not "image" and not "name"))
        {
            seen++;
            Assert.True(Valid(document, property!.AsObject(), null), field);
        }
        Assert.Equal(15, seen);
        foreach (var (name, path) in (ReadOnlySpan<(string, string[])>)
            [("PlacementTry", ["lease", "properties", "onExpiry"]), ("PlacementTry", ["placement", "properties", "numa"]), ("PlacementTry", ["accelerators", "items", "properties", "minVerdict"])])
            Assert.True(Valid(document, At(schemas[name]!, path), null), string.Join('.', path));
        foreach (var (name, path) in (ReadOnlySpan<(string, string[])>)
            [("PlacementTry", ["image"]), ("PlacementTry", ["restart", "properties", "policy"]), ("SandboxPatch", ["restart", "properties", "policy"]), ("KeyCreate", ["role"]), ("RestartRequest", ["policy"]), ("ProjectPatch", ["quotas"])])
            Assert.False(Valid(document, At(schemas[name]!, path), null), $"{name} {string.Join('.', path)}");
        using var client = service.Client();
        using var tried = await client.PostAsync("/v1/placements", new StringContent(
            """{"image":"guest","hugePages":null,"viommu":null,"vmm":null,"restart":null,"lease":{"ttlSeconds":60,"onExpiry":null},"faultStorm":{"perSecond":1,"action":null},"placement":{"strategy":null,"numa":null}}""",
            System.Text.Encoding.UTF8, "application/json"), TestContext.Current.CancellationToken);
        // Nobody has the image, which is looked for once all else has been taken.
        Assert.Contains("\"image_not_found\"", await tried.Content.ReadAsStringAsync(TestContext.Current.CancellationToken), StringComparison.Ordinal);
    }

    private static JsonObject At(JsonNode schema, string[] path) => path.Aggregate(schema["properties"]!, (node, name) => node[name]!).AsObject();

    /// <summary>Names of the component schemas that an operation's bodies lead to.</summary>
    private static HashSet<string> Reached(JsonObject document)
    {
        var reached = new HashSet<string>();
        var open = new Queue<JsonNode>([document["paths"]!]);
        while (open.TryDequeue(out var from))
            foreach (var name in All(from, "").Select(s => s.Node["$ref"]).OfType<JsonValue>().Select(r => r.GetValue<string>()).Where(r => r.StartsWith(Components, StringComparison.Ordinal)).Select(r => r[Components.Length..]))
                if (reached.Add(name)) open.Enqueue(document["components"]!["schemas"]![name]!);
        return reached;
    }

    private static IEnumerable<(string Place, JsonObject Node)> All(JsonNode? node, string place)
    {
        IEnumerable<(string, JsonNode?)> within = node switch { JsonObject o => o.Select(p => ($"{place}/{p.Key}", p.Value)), JsonArray a => a.Select((item, i) => ($"{place}/{i}", item)), _ => [] };
        var below = within.SelectMany(p => All(p.Item2, p.Item1));
        return node is JsonObject self ? below.Prepend((place, self)) : below;
    }

    private static bool Valid(JsonObject document, JsonObject schema, JsonNode? value) => !Problems(document, schema, value, "").Any();

    /// <summary>Of types, enums, required and unknown properties.</summary>
    private static IEnumerable<string> Problems(JsonObject document, JsonObject schema, JsonNode? value, string place)
    {
        if (schema["$ref"]?.GetValue<string>() is { } reference)
            return Problems(document, document["components"]!["schemas"]![reference[Components.Length..]]!.AsObject(), value, place);
        if (schema["oneOf"] is JsonArray forms)
            return forms.Count(f => Valid(document, f!.AsObject(), value)) == 1 ? [] : forms.OfType<JsonObject>().SelectMany(f => Problems(document, f, value, place)).DefaultIfEmpty($"{place} is of several forms");
        var found = new List<string>();
        var types = schema["type"] switch { JsonArray several => several.Select(t => t!.GetValue<string>()).ToList(), JsonValue one => [one.GetValue<string>()], _ => null };
        if (types is not null && !types.Any(type => IsOf(type, value))) found.Add($"{place} is no {string.Join('|', types)}: {value}");
        if (schema["enum"] is JsonArray names && !names.Any(name => JsonNode.DeepEquals(name, value))) found.Add($"{place} has no {value}");
        if (value is JsonObject fields)
        {
            var properties = schema["properties"]?.AsObject();
            found.AddRange((schema["required"]?.AsArray() ?? []).Select(r => r!.GetValue<string>()).Where(r => !fields.ContainsKey(r)).Select(r => $"{place} has no {r}"));
            foreach (var (name, field) in fields)
                if (properties?[name] is JsonObject known) found.AddRange(Problems(document, known, field, $"{place}/{name}"));
                else if (schema["additionalProperties"] is JsonObject any) found.AddRange(Problems(document, any, field, $"{place}/{name}"));
                else if (schema["additionalProperties"] is JsonValue) found.Add($"{place} knows no {name}");
        }
        if (value is JsonArray items && schema["items"] is JsonObject item) found.AddRange(items.SelectMany((each, i) => Problems(document, item, each, $"{place}/{i}")));
        return found;
    }

    private static bool IsOf(string type, JsonNode? value) => (type, value?.GetValueKind() ?? JsonValueKind.Null) switch
    {
        ("null", JsonValueKind.Null) or ("object", JsonValueKind.Object) or ("array", JsonValueKind.Array) or ("string", JsonValueKind.String) or ("boolean", JsonValueKind.True or JsonValueKind.False) or ("number", JsonValueKind.Number) => true,
        ("integer", JsonValueKind.Number) => value!.AsValue().TryGetValue<long>(out _),
        _ => false,
    };
}

using System.Globalization;
using System.Text;
using System.Text.Json.Nodes;

namespace Api.Tests.Fuzz;

/// <summary>Requests made from the API's own document: now and then as it wants them, mostly not quite. A function of the seed.</summary>
internal sealed class FuzzedRequests(JsonNode document, int seed, IReadOnlyList<Guid> ids)
{
    private const int HugeBody = 300 * 1024;
    private static readonly string[] Texts =
    [
        "", " ", "a", "guest", "edu", "local", "Running", "smmu.events", "key=value", "team=red", "*", "\0", "\n", "\"", "'", "\\", "%00", "../..", "a/b", "é", "日本", "🙂", "\ud800", "‮", "true", "null", "[]", "{}",
        "2026-01-01T00:00:00Z", "9999-12-31T23:59:59.9999999Z", "0001-01-01T00:00:00Z", "2026-13-45", "https://example.com/hook", "http://127.0.0.1/", "file:///etc/passwd", "whsec_AAAA", "#!/bin/sh\nexit\n",
        "'; DROP TABLE sandboxes; --", new('x', 63), new('x', 64), new('x', 300), new('x', 20_000),
    ];
    private static readonly string[] Numbers = ["0", "1", "2", "-1", "60", "128", "600", "1000", "1001", "2147483647", "2147483648", "9223372036854775807", "9223372036854775808", "-9223372036854775809", "1e999", "1.5", "1e-320", "NaN"];
    private readonly Random random = new(seed);
    private readonly List<(string Method, string Path, JsonNode Operation)> operations =
    [
        .. document["paths"]!.AsObject().SelectMany(p => p.Value!.AsObject().Where(o => o.Key is "get" or "post" or "put" or "patch" or "delete").Select(o => (o.Key.ToUpperInvariant(), p.Key, o.Value!))),
    ];

    public int Operations => operations.Count;

    /// <summary>With the operation that it is of.</summary>
    public (string Name, HttpRequestMessage Request) Next()
    {
        var (method, path, operation) = operations[random.Next(operations.Count)];
        var parameters = operation["parameters"]?.AsArray().Select(p => p!).ToList() ?? [];
        var address = new StringBuilder(path);
        var query = new List<string>();
        var request = new HttpRequestMessage { Method = new HttpMethod(method) };
        foreach (var parameter in parameters)
        {
            var (name, place) = (parameter["name"]!.GetValue<string>(), parameter["in"]!.GetValue<string>());
            if (place == "path") address.Replace($"{{{name}}}", Uri.EscapeDataString(Sound(Segment(parameter["schema"])).Replace("\0", "0", StringComparison.Ordinal)));
            else if (random.Next(3) == 0 && place == "query") query.AddRange(Enumerable.Repeat(name, random.Next(6) == 0 ? 3 : 1).Select(n => $"{n}={Uri.EscapeDataString(Sound(Plain(parameter["schema"])))}"));
            else if (random.Next(3) == 0 && place == "header") request.Headers.TryAddWithoutValidation(name, random.Next(2) == 0 ? "*" : $"\"{Sound(Plain(null)).Replace('\n', ' ').Replace('\0', ' ')}\"");
        }
        if (random.Next(20) == 0) query.Add($"{Uri.EscapeDataString(Sound(Pick(Texts)))}={random.Next()}");
        request.RequestUri = new Uri(address + (query.Count == 0 ? "" : "?" + string.Join('&', query)), UriKind.Relative);
        if (operation["requestBody"]?["content"]?.AsObject() is { } content && random.Next(12) != 0)
        {
            var (type, media) = content.ElementAt(random.Next(content.Count));
            var body = Encoding.UTF8.GetBytes(Body(media!["schema"]!));
            request.Content = new ByteArrayContent(body);
            request.Content.Headers.TryAddWithoutValidation("Content-Type", random.Next(25) == 0 ? "text/plain" : type);
        }
        return ($"{method} {path}", request);
    }

    /// <summary>Without a NUL, which a real server refuses before anything of ours and the one of the tests not at all.</summary>
    private string Segment(JsonNode? schema) => random.Next(4) switch
    {
        0 => Plain(schema),
        1 => Guid.NewGuid().ToString(),
        _ => Pick(ids).ToString(),
    };

    private string Plain(JsonNode? schema) => random.Next(4) switch
    {
        0 => Pick(Texts),
        1 => Pick(Numbers),
        2 => Pick(ids).ToString(),
        _ => Value(schema ?? new JsonObject(), 0).Trim('"'),
    };

    private string Body(JsonNode schema)
    {
        var body = Value(schema, 0);
        return random.Next(14) switch
        {
            0 => body[..random.Next(body.Length + 1)],
            1 => body + body,
            2 => body.Replace(":", ":[", StringComparison.Ordinal),
            3 when body.StartsWith('{') => "{" + Twice(body) + body[1..],
            4 when random.Next(20) == 0 => $"{{\"name\":\"{new string('x', HugeBody)}\"}}",
            5 when random.Next(10) == 0 => new string('[', 5000),
            _ => body,
        };
    }

    /// <summary>The first key of an object once more.</summary>
    private static string Twice(string body) => body.IndexOf(':', StringComparison.Ordinal) is > 1 and var colon ? body[1..colon] + ":1," : "";

    /// <summary>A value as the schema wants it, or one that it does not.</summary>
    private string Value(JsonNode schema, int depth)
    {
        if (random.Next(12) == 0 || depth > 6) return Strange();
        if (schema["$ref"]?.GetValue<string>() is { } reference) return Value(document["components"]!["schemas"]![reference.Split('/')[^1]]!, depth + 1);
        if ((schema["oneOf"] ?? schema["anyOf"])?.AsArray() is { Count: > 0 } choice) return Value(choice[random.Next(choice.Count)]!, depth + 1);
        if (schema["examples"]?.AsArray() is { Count: > 0 } examples && random.Next(3) == 0) return examples[0]!.ToJsonString();
        if (schema["enum"]?.AsArray() is { Count: > 0 } names) return names[random.Next(names.Count)]?.ToJsonString() ?? "null";
        var types = schema["type"] switch { JsonArray many => many.Select(t => t!.GetValue<string>()).ToList(), { } one => [one.GetValue<string>()], _ => (List<string>)[] };
        return (types.Count == 0 ? "" : Pick(types)) switch
        {
            "object" => Object(schema, depth),
            "array" => $"[{string.Join(',', Enumerable.Range(0, random.Next(4) == 0 ? 40 : random.Next(4)).Select(_ => Value(schema["items"] ?? new JsonObject(), depth + 1)))}]",
            "integer" or "number" => random.Next(2) == 0 ? random.Next(1, 700).ToString(CultureInfo.InvariantCulture) : Pick(Numbers).Replace("NaN", "0", StringComparison.Ordinal),
            "boolean" => random.Next(2) == 0 ? "true" : "false",
            "null" => "null",
            _ => Quoted(random.Next(3) == 0 ? Pick(ids).ToString() : Pick(Texts)),
        };
    }

    private string Object(JsonNode schema, int depth)
    {
        var fields = (schema["properties"]?.AsObject() ?? []).Where(_ => random.Next(5) > 1).Select(p => $"{Quoted(p.Key)}:{Value(p.Value!, depth + 1)}").ToList();
        if (schema["additionalProperties"] is JsonObject more) fields.AddRange(Enumerable.Range(0, random.Next(3)).Select(n => $"{Quoted(Pick(Texts))}:{Value(more, depth + 1)}").DistinctBy(f => f.Split(':')[0]));
        if (random.Next(15) == 0) fields.Add($"{Quoted("unknown")}:{Strange()}");
        return $"{{{string.Join(',', fields)}}}";
    }

    private string Strange() => random.Next(6) switch { 0 => "null", 1 => Pick(Numbers), 2 => Quoted(Pick(Texts)), 3 => "[]", 4 => "{}", _ => "[[[{\"a\":[]}]]]" };

    private T Pick<T>(IReadOnlyList<T> all) => all[random.Next(all.Count)];

    private static string Quoted(string text) => JsonValue.Create(Sound(text))!.ToJsonString();

    /// <summary>A half of a surrogate pair cannot be written as UTF-8; as a replacement it can.</summary>
    private static string Sound(string text) => new([.. text.Select(c => char.IsSurrogate(c) && text.Length == 1 ? '�' : c)]);
}

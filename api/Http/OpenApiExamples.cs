using System.Collections;
using System.Text.Json;
using System.Text.Json.Nodes;
using Contracts;

namespace Api.Http;

/// <summary>What bodies look like, for the document of the API: values of the records themselves, so that they cannot name a field that is not there.
/// All are of one deployment: host-7, a virtual machine, emulates guests and their accelerators, so nothing here says that it is hardware.</summary>
public static partial class OpenApiExamples
{
    private const string Sha256 = "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae";
    private static readonly DateTimeOffset At = new(2026, 1, 2, 3, 4, 5, TimeSpan.Zero);
    private static readonly Guid
        SandboxId = new("019b7c9a-2d08-7b11-9b5e-6f0d3a8f2c10"), NodeId = new("019b7c4e-7d60-7c42-8a71-0d9e5b3c4f21"), DeviceId = new("019b7c4e-7f1a-7d53-b2c4-58e0a6d17b32"),
        ProjectId = new("019b7b01-5a3c-7e64-9d85-a1f27c40e843"), KeyId = new("019b7b01-66b2-7f75-8e96-c3052d81f954"), WebhookId = new("019b7c60-10c4-7086-a9a7-d4163e920a65"),
        ImageId = new("019b7c55-9be6-7197-bab8-e5274fa31b76"), ExecId = new("019b7c9b-41d8-72a8-8bc9-f63850b42c87");

    // Late, and the values that are shared are no fields: no order holds between those of a class in several files.
    private static readonly Lazy<Dictionary<Type, object>> Values = new(Collect);

    public static JsonNode? Of(Type type, JsonSerializerOptions options)
    {
        if (!Values.Value.TryGetValue(type, out var value)) return null;
        var example = JsonSerializer.SerializeToNode(value, type, options)!;
        if (OpenApiBodies.IsBody(type)) foreach (var name in example.AsObject().Where(p => p.Value is null).Select(p => p.Key).ToList()) example.AsObject().Remove(name);
        return example;
    }

    /// <summary>Those that are written down, and of every type that stands only within them the first one.</summary>
    private static Dictionary<Type, object> Collect()
    {
        List<object> written = [.. Requests(), .. OfSandboxes(), .. OfFaults(), .. OfNodes(), .. OfProjects(), .. OfWebhooks(), .. OfImages(), .. OfGuests()];
        var values = written.ToDictionary(v => v.GetType());
        foreach (var value in written) Add(value, values);
        return values;
    }

    private static void Add(object? value, Dictionary<Type, object> values)
    {
        if (value is IDictionary map) foreach (var entry in map.Values) Add(entry, values);
        else if (value is IEnumerable list and not string and not JsonNode) foreach (var entry in list) Add(entry, values);
        else if (value?.GetType() is { IsEnum: false } type && type.Assembly == typeof(Failure).Assembly)
        {
            values.TryAdd(type, value);
            foreach (var property in type.GetProperties().Where(p => p.CanWrite)) Add(property.GetValue(value), values);
        }
    }

    private static Page<T> PageOf<T>(T item) => new([item], null);
}

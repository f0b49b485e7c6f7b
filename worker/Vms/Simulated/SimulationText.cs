using System.Text.Json;
using Contracts;
using Worker.Vms.Simulated.Pci;
using Worker.Vms.Simulated.Workloads;

namespace Worker.Vms.Simulated;

/// <summary>Pure: a sandbox's user data as a <see cref="SimulationRequest"/>. What is refused is told in the words of docs/simulated.md, with the field that it is about;
/// a <see cref="VmStartException"/> for a text that is no such object. Null leaves a field out.</summary>
internal static class SimulationText
{
    private const string Workload = "workload", Seed = "seed", Faults = "faults", GranuleKib = "granuleKib", Stage2GranuleKib = "stage2GranuleKib", AccessesPerSecond = "accessesPerSecond", WorkingSetMib = "workingSetMib", PageRequestQueue = "pageRequestQueue";
    private static readonly string[] Fields = [Workload, Seed, Faults, GranuleKib, Stage2GranuleKib, AccessesPerSecond, WorkingSetMib, PageRequestQueue];
    private const int MostShown = 40;

    public static SimulationRequest Read(string? userData)
    {
        var request = new SimulationRequest(null, null, null, null, null, null, null, null);
        if (string.IsNullOrWhiteSpace(userData))
            return request;
        using var document = Parse(userData);
        if (document.RootElement.ValueKind != JsonValueKind.Object)
            throw SimulationRequest.Refused("It is no JSON object.");
        var seen = new HashSet<string>(StringComparer.Ordinal);
        foreach (var field in document.RootElement.EnumerateObject())
        {
            if (!Fields.Contains(field.Name))
                throw SimulationRequest.Refused($"There is no field '{Short(field.Name)}'; there are {string.Join(", ", Fields)}.");
            if (!seen.Add(field.Name))
                throw SimulationRequest.Refused($"{field.Name} is there twice.");
            if (field.Value.ValueKind != JsonValueKind.Null)
                request = With(request, field.Name, field.Value);
        }
        return request;
    }

    private static SimulationRequest With(SimulationRequest request, string field, JsonElement value) => field switch
    {
        Workload => request with { Workload = WordOf<WorkloadKind>(field, value, Enum.GetValues<WorkloadKind>()) },
        Faults => request with { Faults = WordOf<FaultModel>(field, value, [FaultModel.Pri, FaultModel.Stall]) },
        Seed => request with { Seed = value.ValueKind == JsonValueKind.Number && value.TryGetInt64(out var seed) ? seed : throw NoNumber(field) },
        GranuleKib => request with { GranuleKib = NumberOf(field, value) },
        Stage2GranuleKib => request with { Stage2GranuleKib = NumberOf(field, value) },
        AccessesPerSecond => request with { AccessesPerSecond = NumberOf(field, value) },
        WorkingSetMib => request with { WorkingSetMib = NumberOf(field, value) },
        _ => request with { PageRequestQueue = NumberOf(field, value) },
    };

    private static JsonDocument Parse(string userData)
    {
        try
        {
            return JsonDocument.Parse(userData);
        }
        catch (JsonException problem)
        {
            throw SimulationRequest.Refused($"It is no JSON: line {(problem.LineNumber ?? 0) + 1}, byte {(problem.BytePositionInLine ?? 0) + 1}.");
        }
    }

    private static T WordOf<T>(string field, JsonElement value, T[] allowed) where T : struct, Enum =>
        value.ValueKind == JsonValueKind.String && NamedEnum.TryParse<T>(value.GetString(), out var word) && allowed.Contains(word)
            ? word : throw SimulationRequest.Refused($"{field} takes one of {string.Join(", ", allowed.Select(a => JsonNamingPolicy.CamelCase.ConvertName(a.ToString())))}.");

    private static int NumberOf(string field, JsonElement value) =>
        value.ValueKind == JsonValueKind.Number && value.TryGetInt32(out var number) ? number : throw NoNumber(field);

    private static VmStartException NoNumber(string field) => SimulationRequest.Refused($"{field} takes a whole number.");

    private static string Short(string text) => text.Length <= MostShown ? text : $"{text[..MostShown]}…";
}

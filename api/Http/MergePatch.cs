using System.Text.Json;
using System.Text.Json.Nodes;
using Microsoft.AspNetCore.Http.Json;
using Microsoft.Extensions.Options;

namespace Api.Http;

/// <summary>JSON merge patch (RFC 7396): what the patch names is replaced, null takes it away, objects are merged. Pure.</summary>
public static class MergePatch
{
    public const string ContentType = "application/merge-patch+json";

    public static JsonNode? Apply(JsonNode? target, JsonNode? patch)
    {
        if (patch is not JsonObject changes) return patch?.DeepClone();
        var merged = target is JsonObject present ? (JsonObject)present.DeepClone() : [];
        foreach (var (name, change) in changes)
        {
            if (change is null) merged.Remove(name);
            else merged[name] = Apply(merged[name], change);
        }
        return merged;
    }

    /// <summary>What the value becomes by the patch. A patch that names what there is not, or gives it another type, could not be read: 400.</summary>
    public static T Apply<T>(T value, JsonNode? patch, JsonSerializerOptions options)
    {
        try
        {
            return Apply(JsonSerializer.SerializeToNode(value, options), patch).Deserialize<T>(options) ?? throw new JsonException();
        }
        catch (JsonException e)
        {
            throw new BadHttpRequestException("The patch does not fit.", StatusCodes.Status400BadRequest, e);
        }
    }

    public static JsonSerializerOptions JsonOptions(this HttpContext http) => http.RequestServices.GetRequiredService<IOptions<JsonOptions>>().Value.SerializerOptions;
}

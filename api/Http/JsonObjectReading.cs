using System.Text.Json;
using System.Text.Json.Nodes;
using System.Text.Json.Serialization;

namespace Api.Http;

/// <summary>Reads an object by way of an element: read at once, one that names a property twice ends in an ArgumentException, which is nobody's bad request (seen in .NET 10).</summary>
public sealed class JsonObjectReading : JsonConverter<JsonObject>
{
    public override JsonObject Read(ref Utf8JsonReader reader, Type typeToConvert, JsonSerializerOptions options) =>
        JsonSerializer.Deserialize<JsonElement>(ref reader, options) is { ValueKind: JsonValueKind.Object } element ? JsonObject.Create(element)! : throw new JsonException("An object is expected.");

    public override void Write(Utf8JsonWriter writer, JsonObject value, JsonSerializerOptions options) => value.WriteTo(writer, options);
}

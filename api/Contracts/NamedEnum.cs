using System.Text.Json;
using System.Text.Json.Serialization;

namespace Contracts;

/// <summary>An enum on the wire is the name of one member, in any case. Unlike <see cref="JsonStringEnumConverter{T}"/> this takes
/// no numbers and no lists of names, which would become members that nobody named.</summary>
public sealed class NamedEnum<T> : JsonConverter<T> where T : struct, Enum
{
    private static readonly Dictionary<T, JsonEncodedText> Texts = Enum.GetValues<T>().ToDictionary(value => value, value => JsonEncodedText.Encode(value.ToString()));

    public override T Read(ref Utf8JsonReader reader, Type typeToConvert, JsonSerializerOptions options) =>
        reader.TokenType == JsonTokenType.String && NamedEnum.TryParse<T>(reader.GetString(), out var value)
            ? value
            : throw new JsonException($"takes one of {string.Join(", ", Enum.GetNames<T>())}");

    public override void Write(Utf8JsonWriter writer, T value, JsonSerializerOptions options) => writer.WriteStringValue(Texts[value]);
}

/// <summary>Names of enum members, where no JSON is.</summary>
public static class NamedEnum
{
    /// <summary>True for the name of one member, in any case; not for numbers and lists.</summary>
    public static bool TryParse<T>(string? text, out T value) where T : struct, Enum =>
        Enum.TryParse(text, ignoreCase: true, out value) && Enum.IsDefined(value) && value.ToString().Equals(text, StringComparison.OrdinalIgnoreCase);
}

using System.Text.Json;
using System.Text.Unicode;

namespace Worker.Channels;

// Pure: one line of somebody who is not trusted, as JSON. Guarantees: whatever the line holds, reading the document's strings and comparing its names never throws;
// .NET's own parser lets bytes that are no UTF-8 and halves of surrogates pass, and throws only where one is read.
internal static class JsonLine
{
    /// <summary>Null when it is not JSON in Unicode.</summary>
    public static JsonDocument? Parse(ReadOnlyMemory<byte> line)
    {
        try
        {
            return IsUnicode(line.Span) ? JsonDocument.Parse(line) : null;
        }
        catch (JsonException)
        {
            return null;
        }
    }

    private static bool IsUnicode(ReadOnlySpan<byte> line)
    {
        if (!Utf8.IsValid(line))
            return false;
        if (line.IndexOf("\\u"u8) < 0)
            return true;
        var reader = new Utf8JsonReader(line);
        try
        {
            while (reader.Read())
                if (reader.TokenType is JsonTokenType.String or JsonTokenType.PropertyName)
                    _ = reader.GetString();
            return true;
        }
        catch (InvalidOperationException)
        {
            return false;
        }
    }
}

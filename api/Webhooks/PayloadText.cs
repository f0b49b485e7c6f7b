using System.Text.Encodings.Web;
using System.Text.Json;
using Api.Events;
using Contracts;

namespace Api.Webhooks;

/// <summary>What is posted. Pure: the same event gives the same bytes at each attempt.
/// Below 20 kB by construction: there are at most seven texts of at most <see cref="MaxText"/> characters, two of them (messages) and a remedy of that length, the others names and codes of a quarter; a character takes at most six bytes.</summary>
public static class PayloadText
{
    public const int MaxBytes = 20_000, MaxText = 600, MaxCode = 150;
    public const string TestType = "webhook.test";
    private static readonly JsonSerializerOptions Json = new(JsonSerializerDefaults.Web) { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    public static byte[] Of(Event e) => Write(e.Type, e.At, new WebhookData(
        e.Number, e.At, e.Type, e.SubjectId, Clip(e.SubjectName, MaxCode), Clip(e.Reason, MaxCode)!, Clip(e.Message, MaxText)!, e.Phase, e.Sandbox is { } s
            ? s with
            {
                Failure = s.Failure is { } f ? f with { Reason = Clip(f.Reason, MaxCode)!, Message = Clip(f.Message, MaxText)!, Remedy = Clip(f.Remedy, MaxText)! } : null,
                Verdict = s.Verdict is { } v ? v with { Reason = Clip(v.Reason, MaxCode)! } : null,
            }
            : null));

    public static byte[] OfTest(Guid endpoint, DateTimeOffset at) => Write(TestType, at, new WebhookData(
        null, at, TestType, endpoint, null, "Test", "Somebody asked for a test of this endpoint.", null, null));

    private static byte[] Write(string type, DateTimeOffset at, WebhookData data) => JsonSerializer.SerializeToUtf8Bytes(new WebhookPayload(type, at, data), Json);

    private static string? Clip(string? text, int most) => text is null || text.Length <= most ? text : text[..(char.IsHighSurrogate(text[most - 2]) ? most - 2 : most - 1)] + "…";
}

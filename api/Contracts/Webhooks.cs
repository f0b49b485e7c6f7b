using System.Text.Json.Serialization;

namespace Contracts;

/// <summary>Body of <c>POST /v1/webhooks</c>. Unknown fields are refused. Null means the default.</summary>
/// <param name="Url">Where events are posted to: absolute, https (http where the service allows it), at most 2048 characters, without user, password or fragment; port 80, 443 or 1024 to 65535.</param>
/// <param name="Description">For people; at most 500 characters.</param>
/// <param name="Types">Which events: names of types, <c>sandbox.*</c> for all of a kind, <c>*</c>; at most 32. Null or empty: all.</param>
/// <param name="Labels">Only events of sandboxes that have all of these labels; at most 32. Null or empty: all events.</param>
/// <param name="Enabled">Default true. What happens while it is disabled is delivered once it is enabled.</param>
/// <param name="Secret">A secret of the caller's own: <c>whsec_</c> and 24 to 64 bytes in base64. Null: one of 32 random bytes is made.</param>
public sealed record WebhookCreate(string? Url, string? Description, IReadOnlyList<string>? Types, IReadOnlyDictionary<string, string>? Labels, bool? Enabled, string? Secret);

/// <summary>Body of <c>PATCH /v1/webhooks/{id}</c>; null leaves as it is. Fields as in <see cref="WebhookCreate"/>.</summary>
public sealed record WebhookPatch(string? Url, string? Description, IReadOnlyList<string>? Types, IReadOnlyDictionary<string, string>? Labels, bool? Enabled);

/// <summary>A webhook endpoint. <c>Disabled</c>: why nothing is sent; null while it is enabled. <c>FailingSince</c>: of the first failure after the last success.
/// <c>PausedUntil</c>: it asked for time, so nothing is sent before. <c>PreviousSecretUntil</c>: how long deliveries are signed with the secret before the last rotation, too.</summary>
public sealed record WebhookView(
    Guid Id, string Url, string? Description, IReadOnlyList<string> Types, IReadOnlyDictionary<string, string> Labels, bool Enabled, Failure? Disabled,
    DateTimeOffset? FailingSince, DateTimeOffset? PausedUntil, DateTimeOffset? PreviousSecretUntil, DateTimeOffset CreatedAt, DateTimeOffset UpdatedAt);

/// <summary>A new endpoint with its secret, which is shown once.</summary>
public sealed record WebhookCreated(WebhookView Webhook, string Secret);

/// <summary>Body of <c>POST /v1/webhooks/{id}/rotate-secret</c>.</summary>
/// <param name="OverlapSeconds">How long deliveries are signed with both secrets: 0 to 604800, default 86400.</param>
/// <param name="Secret">As in <see cref="WebhookCreate"/>.</param>
public sealed record WebhookRotate(int? OverlapSeconds, string? Secret);

/// <summary>The new secret, shown once. <c>PreviousSecretUntil</c>: null when the one before ended at once.</summary>
public sealed record WebhookSecretView(string Secret, DateTimeOffset? PreviousSecretUntil);

/// <summary>Body of <c>POST /v1/webhooks/{id}/redeliver</c>. <c>Since</c>: every event from then on that the endpoint wants is delivered again, or for the first time.</summary>
public sealed record WebhookRedeliver(DateTimeOffset? Since);

/// <summary>How many deliveries are made anew.</summary>
public sealed record WebhookRedelivered(int Count);

/// <summary><c>Waiting</c>: behind an earlier one of the same subject; <c>Pending</c>: due, being attempted, or between two attempts; <c>Succeeded</c>: answered with 2xx; <c>Failed</c>: given up.</summary>
[JsonConverter(typeof(NamedEnum<DeliveryState>))]
public enum DeliveryState { Waiting, Pending, Succeeded, Failed }

/// <summary>One event for one endpoint. <c>WebhookId</c>: the header webhook-id, the same for every attempt. <c>EventNumber</c>: null for a test.
/// <c>Attempts</c>: made since it was last asked for. <c>DueAt</c>: of the next attempt; while one runs, when it counts as lost. Null when none follows.
/// <c>LastStatus</c>: the HTTP status of the last attempt; null when there was no answer, <c>LastFailure</c> then says why. <c>ResponseExcerpt</c>: the answer's first bytes as text, at most 1024.
/// <c>TookMilliseconds</c>: of the last attempt.</summary>
public sealed record WebhookDeliveryView(
    long Number, string WebhookId, long? EventNumber, string Type, Guid? SubjectId, DateTimeOffset CreatedAt, DeliveryState State, int Attempts, DateTimeOffset? DueAt,
    DateTimeOffset? LastAttemptAt, int? LastStatus, Failure? LastFailure, string? ResponseExcerpt, int? TookMilliseconds);

/// <summary>What is posted to an endpoint, below 20 kB: long texts are cut (messages and remedies after 600 characters). <c>Timestamp</c>: when it happened.</summary>
public sealed record WebhookPayload(string Type, DateTimeOffset Timestamp, WebhookData Data);

/// <summary>The event as <c>GET /v1/events</c> answers it (see <see cref="EventView"/>; <c>Number</c> is null in a test), and what its sandbox was then; null for other subjects.</summary>
public sealed record WebhookData(long? Number, DateTimeOffset At, string Type, Guid? SubjectId, string? SubjectName, string Reason, string Message, Phase? Phase, EventSandbox? Sandbox);

/// <summary>A sandbox as it was when the event happened. <c>Origin</c>: of its verdict; null where it has none.</summary>
public sealed record EventSandbox(DesiredState Desired, int Incarnation, Guid? NodeId, Origin? Origin, Failure? Failure, EventVerdict? Verdict);

/// <summary>A verdict without its links.</summary>
public sealed record EventVerdict(VerdictClass Class, string Reason, Origin Origin);

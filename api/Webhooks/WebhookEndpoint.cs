using Contracts;

namespace Api.Webhooks;

/// <summary>Where a project's events are posted to. Its row is locked by whoever makes, ends or repeats deliveries of it (<see cref="DeliveryQueue"/>), so that their order holds.</summary>
public sealed class WebhookEndpoint
{
    public Guid Id { get; init; }
    public Guid ProjectId { get; init; }
    public required string Url { get; set; }
    public string? Description { get; set; }
    /// <summary>Empty: all.</summary>
    public List<string> Types { get; set; } = [];
    public Dictionary<string, string> Labels { get; set; } = [];
    /// <summary>Protected: the service needs it in clear for signing, the database does not.</summary>
    public required string ProtectedSecret { get; set; }
    public string? ProtectedPreviousSecret { get; set; }
    public DateTimeOffset? PreviousSecretUntil { get; set; }
    public Failure? Disabled { get; set; }
    public DateTimeOffset? FailingSince { get; set; }
    public DateTimeOffset? PausedUntil { get; set; }
    /// <summary>Number of the last event that was looked at for it.</summary>
    public long Cursor { get; set; }
    /// <summary>How many deliveries it has had.</summary>
    public long LastDelivery { get; set; }
    public DateTimeOffset CreatedAt { get; init; }
    public DateTimeOffset UpdatedAt { get; set; }

    public WebhookView ToView(DateTimeOffset now) => new(Id, Url, Description, Types, Labels, Disabled is null, Disabled, FailingSince, PausedUntil > now ? PausedUntil : null,
        PreviousSecretUntil > now ? PreviousSecretUntil : null, CreatedAt, UpdatedAt);
}

/// <summary>One event for one endpoint, and what became of it. Of those with the same stream (the event's subject) one at most is Pending, which the database guards.</summary>
public sealed class WebhookDelivery
{
    public Guid EndpointId { get; init; }
    public long Number { get; init; }
    public Guid ProjectId { get; init; }
    /// <summary>Null: a test.</summary>
    public long? EventNumber { get; init; }
    public required string Type { get; init; }
    public Guid? SubjectId { get; init; }
    public Guid Stream { get; init; }
    public DateTimeOffset CreatedAt { get; init; }
    public DeliveryState State { get; set; }
    public int Attempts { get; set; }
    /// <summary>While an attempt runs, the end of its lease: whoever claimed it has died if it is still Pending then.</summary>
    public DateTimeOffset? DueAt { get; set; }
    public DateTimeOffset? LastAttemptAt { get; set; }
    public int? LastStatus { get; set; }
    /// <summary>A code of <see cref="WebhookReasons"/>.</summary>
    public string? LastReason { get; set; }
    public string? ResponseExcerpt { get; set; }
    public int? TookMilliseconds { get; set; }

    public static string WebhookId(Guid endpoint, long number) => $"msg_{endpoint:N}_{number:D}";

    public WebhookDeliveryView ToView() => new(Number, WebhookId(EndpointId, Number), EventNumber, Type, SubjectId, CreatedAt, State, Attempts, DueAt, LastAttemptAt, LastStatus,
        LastReason is { } reason ? WebhookReasons.Failure(reason, LastAttemptAt ?? CreatedAt, LastStatus) : null, ResponseExcerpt, TookMilliseconds);
}

using Contracts;

namespace Api.Projects;

/// <summary>A bearer key. Only the SHA-256 of its secret is stored: the secret has 256 bits of entropy, so a slow hash would add nothing.</summary>
public sealed class ApiKey
{
    public Guid Id { get; init; }
    public Guid ProjectId { get; init; }
    public required string Name { get; init; }
    public Role Role { get; init; }
    /// <summary>How the secret begins, for people to tell keys apart; null of keys from before it was kept.</summary>
    public string? Prefix { get; set; }
    public required byte[] SecretSha256 { get; set; }
    /// <summary>Of the secret before the last rotation; null when it was worth nothing at once.</summary>
    public byte[]? PreviousSha256 { get; set; }
    /// <summary>When that secret ends, and with it whatever it had opened; null: never rotated.</summary>
    public DateTimeOffset? PreviousUntil { get; set; }
    public DateTimeOffset CreatedAt { get; init; }
    public DateTimeOffset? ExpiresAt { get; init; }
    /// <summary>Written at most once a minute, past this class.</summary>
    public DateTimeOffset? LastUsedAt { get; init; }
    /// <summary>Grows with each change by a user. Not xmin, which would change with each use.</summary>
    public int Generation { get; set; }

    /// <summary>Characters of the secret that are shown: its kind and 8 of 43.</summary>
    private const int PrefixLength = 12;

    public static (ApiKey Key, string Secret) Create(Guid project, string name, Role role, DateTimeOffset? expiresAt, DateTimeOffset now)
    {
        var secret = Secret.Create(Secret.ApiKeyPrefix);
        return (Of(project, name, role, secret, expiresAt, now), secret);
    }

    public static ApiKey Of(Guid project, string name, Role role, string secret, DateTimeOffset? expiresAt, DateTimeOffset now) => new()
    {
        Id = Guid.CreateVersion7(now),
        ProjectId = project,
        Name = name,
        Role = role,
        Prefix = secret[..PrefixLength],
        SecretSha256 = Secret.Hash(secret),
        CreatedAt = now,
        ExpiresAt = expiresAt,
        Generation = 1,
    };

    /// <summary>Another secret; the old one is taken for so long, the one before it no more.</summary>
    public string Rotate(TimeSpan overlap, DateTimeOffset now)
    {
        (PreviousSha256, PreviousUntil) = (overlap > TimeSpan.Zero ? SecretSha256 : null, now + overlap);
        var secret = Secret.Create(Secret.ApiKeyPrefix);
        (SecretSha256, Prefix) = (Secret.Hash(secret), secret[..PrefixLength]);
        Generation++;
        return secret;
    }

    public KeyView ToView(DateTimeOffset now) => new(Id, Name, Role, Prefix, CreatedAt, ExpiresAt, LastUsedAt, PreviousUntil > now ? PreviousUntil : null);
}

/// <summary>A browser that is signed in: by a key, with whose end it ends, or by somebody whom the identity provider named.</summary>
public sealed class Session
{
    public Guid Id { get; init; }
    public Guid ProjectId { get; init; }
    public Guid? KeyId { get; init; }
    /// <summary>Who the identity provider says it is; null of a key's.</summary>
    public string? Subject { get; init; }
    public required string Name { get; init; }
    public Role Role { get; init; }
    public DateTimeOffset CreatedAt { get; init; }
    public DateTimeOffset ExpiresAt { get; set; }
}

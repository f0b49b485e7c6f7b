using System.Collections.Concurrent;
using System.Security.Cryptography;
using Microsoft.AspNetCore.DataProtection;

namespace Api.Webhooks;

/// <summary>Secrets as the database has them. What was read once is remembered: an endpoint signs with the same key thousands of times.</summary>
public sealed class ProtectedSecrets(IDataProtectionProvider provider)
{
    private const int MostRemembered = 4096;
    private readonly IDataProtector protector = provider.CreateProtector("Api.Webhooks.Secret");
    private readonly ConcurrentDictionary<string, byte[]> keys = new();

    public string Protect(string secret) => protector.Protect(secret);

    /// <summary>The keys that a delivery is signed with now; null: the present secret cannot be read.</summary>
    public IReadOnlyList<byte[]>? Keys(WebhookEndpoint endpoint, DateTimeOffset now)
    {
        if (Key(endpoint.ProtectedSecret) is not { } present) return null;
        return endpoint is { ProtectedPreviousSecret: { } before, PreviousSecretUntil: { } until } && until > now && Key(before) is { } previous ? [present, previous] : [present];
    }

    private byte[]? Key(string text)
    {
        if (keys.TryGetValue(text, out var known)) return known;
        try
        {
            var key = WebhookSecret.Key(protector.Unprotect(text));
            if (keys.Count >= MostRemembered) keys.Clear();
            if (key is not null) keys[text] = key;
            return key;
        }
        catch (CryptographicException)
        {
            return null;
        }
    }
}

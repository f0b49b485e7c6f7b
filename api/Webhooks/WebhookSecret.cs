using System.Security.Cryptography;
using System.Text;

namespace Api.Webhooks;

/// <summary>Secrets and signatures of Standard Webhooks: HMAC-SHA256 over id, timestamp and body. Pure but for the random bytes.</summary>
public static class WebhookSecret
{
    public const string Prefix = "whsec_";
    public const int MinBytes = 24, MaxBytes = 64;
    private const int MadeBytes = 32;

    public static string Create() => Prefix + Convert.ToBase64String(RandomNumberGenerator.GetBytes(MadeBytes));

    /// <summary>The key, or null when the text is no such secret.</summary>
    public static byte[]? Key(string? secret)
    {
        if (secret is null || secret.Length > Prefix.Length + 128 || !secret.StartsWith(Prefix, StringComparison.Ordinal)) return null;
        var bytes = new byte[MaxBytes + 3];
        return Convert.TryFromBase64String(secret[Prefix.Length..], bytes, out var length) && length is >= MinBytes and <= MaxBytes ? bytes[..length] : null;
    }

    /// <summary>The header webhook-signature: one signature for each key, so that a receiver may have either.</summary>
    public static string Sign(IEnumerable<byte[]> keys, string id, string timestamp, ReadOnlySpan<byte> body)
    {
        var head = Encoding.ASCII.GetBytes($"{id}.{timestamp}.");
        var signed = new byte[head.Length + body.Length];
        head.CopyTo(signed, 0);
        body.CopyTo(signed.AsSpan(head.Length));
        return string.Join(' ', keys.Select(key => "v1," + Convert.ToBase64String(HMACSHA256.HashData(key, signed))));
    }
}

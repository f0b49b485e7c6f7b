using System.Buffers.Text;
using System.Security.Cryptography;
using System.Text;

namespace Api.Projects;

/// <summary>Bearer secrets: a prefix that names their kind and 32 random bytes. Stored only as SHA-256.</summary>
public static class Secret
{
    public const string ApiKeyPrefix = "sbx_";
    public const string NodeTokenPrefix = "sbn_";
    public const string JoinTokenPrefix = "sbj_";
    private const int MaxLength = 128;

    public static string Create(string prefix) => prefix + Base64Url.EncodeToString(RandomNumberGenerator.GetBytes(32));

    public static byte[] Hash(string secret) => SHA256.HashData(Encoding.UTF8.GetBytes(secret));

    /// <summary>Whether a presented text can be a secret of that kind at all, before any look-up.</summary>
    public static bool HasForm(string? presented, string prefix) =>
        presented is not null && presented.Length <= MaxLength && presented.StartsWith(prefix, StringComparison.Ordinal);
}

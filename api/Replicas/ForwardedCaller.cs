using System.Globalization;
using System.Net;
using System.Security.Cryptography;
using Microsoft.AspNetCore.DataProtection;

namespace Api.Replicas;

/// <summary>The header by which a replica says that it passes a request on, and from which address that came, for the audit log.
/// Guarantees: whatever a client sends in it only keeps its request from being passed on; the address counts only when it is sealed under the keys that the replicas share in their database,
/// for this very method and address, a short time ago. Assumes: clocks of replicas differ by less than <see cref="Valid"/>.</summary>
public sealed class ForwardedCaller(IDataProtectionProvider keys, TimeProvider time)
{
    public const string Header = "Sandbox-Forwarded";
    public static readonly TimeSpan Valid = TimeSpan.FromMinutes(5);
    private const int MaxLength = 2048;
    private readonly IDataProtector protector = keys.CreateProtector("forwarded caller");

    public static bool IsForwarded(HttpContext http) => http.Request.Headers.ContainsKey(Header);

    public string Seal(HttpContext http) =>
        protector.Protect(string.Join('\n', time.GetUtcNow().ToUnixTimeMilliseconds().ToString(CultureInfo.InvariantCulture), What(http), http.Connection.RemoteIpAddress));

    /// <summary>Whoever sent the request to the first replica that had it; null when that is not known.</summary>
    public IPAddress? AddressOf(HttpContext http) => Sealed(http) ?? http.Connection.RemoteIpAddress;

    private IPAddress? Sealed(HttpContext http)
    {
        if (http.Request.Headers[Header] is not [{ Length: > 0 and <= MaxLength } text]) return null;
        try
        {
            return protector.Unprotect(text).Split('\n') is [var at, var what, var address] && what == What(http)
                && long.TryParse(at, NumberStyles.None, CultureInfo.InvariantCulture, out var milliseconds) && (time.GetUtcNow() - DateTimeOffset.FromUnixTimeMilliseconds(milliseconds)).Duration() <= Valid
                && IPAddress.TryParse(address, out var from) ? from : null;
        }
        catch (CryptographicException)
        {
            // Not sealed by a replica: a client's own text.
            return null;
        }
    }

    private static string What(HttpContext http) => $"{http.Request.Method} {http.Request.Path}";
}

using System.Net;

namespace Api.Webhooks;

/// <summary>What a tenant's url may reach: networks that are reached although they are not public, and whether without TLS.</summary>
public sealed record ConnectionRules(IReadOnlyList<IPNetwork> AllowedNetworks, bool AllowHttp)
{
    public static ConnectionRules Read(IConfiguration configuration, string section) => new(
        [.. (configuration[$"{section}:AllowedNetworks"] ?? "").Split(',', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries)
            .Select(text => IPNetwork.TryParse(text, out var network) ? network : throw new InvalidOperationException($"{section}:AllowedNetworks takes networks such as 10.1.0.0/16, not '{text}'."))],
        configuration.GetValue($"{section}:AllowHttp", false));
}

/// <summary>Whether a tenant's url can be asked at all. Pure; what its name resolves to is judged at each connection (<see cref="GuardedConnections"/>).</summary>
public static class GuardedUrl
{
    public const int MaxLength = 2048;

    /// <summary>Null when nothing is wrong.</summary>
    public static string? Problem(string? url, ConnectionRules rules)
    {
        if (url is null) return "is required";
        if (url.Length > MaxLength) return $"takes at most {MaxLength} characters";
        if (url.Any(c => char.IsControl(c) || char.IsWhiteSpace(c)) || !Uri.TryCreate(url, UriKind.Absolute, out var uri) || uri.Host.Length == 0) return "takes an absolute url";
        if (uri.Scheme != Uri.UriSchemeHttps && !(rules.AllowHttp && uri.Scheme == Uri.UriSchemeHttp)) return rules.AllowHttp ? "takes an http or https url" : "takes an https url";
        if (uri.UserInfo.Length > 0) return "takes no user and password";
        if (uri.Fragment.Length > 0) return "takes no fragment";
        // Ports below 1024 are of protocols that are not HTTP.
        if (uri.Port is not (80 or 443 or >= 1024)) return "takes port 80, 443 or 1024 to 65535";
        return uri.HostNameType is UriHostNameType.IPv4 or UriHostNameType.IPv6 && !(IPAddress.TryParse(uri.IdnHost, out var address) && AddressRules.Allows(address, rules.AllowedNetworks))
            ? "names an address that this service does not connect to"
            : null;
    }
}

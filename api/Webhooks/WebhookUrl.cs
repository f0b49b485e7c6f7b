using System.Net;
using System.Net.Sockets;

namespace Api.Webhooks;

/// <summary>Whether an endpoint's url can be posted to at all. Pure; what its name resolves to is judged at each connection (<see cref="GuardedConnections"/>).</summary>
public static class WebhookUrl
{
    public const int MaxLength = 2048;

    /// <summary>Null when nothing is wrong.</summary>
    public static string? Problem(string? url, WebhookSettings settings)
    {
        if (url is null) return "is required";
        if (url.Length > MaxLength) return $"takes at most {MaxLength} characters";
        if (url.Any(c => char.IsControl(c) || char.IsWhiteSpace(c)) || !Uri.TryCreate(url, UriKind.Absolute, out var uri) || uri.Host.Length == 0) return "takes an absolute url";
        if (uri.Scheme != Uri.UriSchemeHttps && !(settings.AllowHttp && uri.Scheme == Uri.UriSchemeHttp)) return settings.AllowHttp ? "takes an http or https url" : "takes an https url";
        if (uri.UserInfo.Length > 0) return "takes no user and password; use the signature";
        if (uri.Fragment.Length > 0) return "takes no fragment";
        // Ports below 1024 are of protocols that are not HTTP.
        if (uri.Port is not (80 or 443 or >= 1024)) return "takes port 80, 443 or 1024 to 65535";
        return uri.HostNameType is UriHostNameType.IPv4 or UriHostNameType.IPv6 && !(IPAddress.TryParse(uri.IdnHost, out var address) && AddressRules.Allows(address, settings.AllowedNetworks))
            ? "names an address that this service does not post to"
            : null;
    }
}

using System.Net;
using System.Net.Sockets;

namespace Api.Webhooks;

/// <summary>Which addresses are posted to: public unicast ones, and those of networks that an operator allows. Pure.
/// An address that carries an IPv4 address inside (mapped, compatible, NAT64) is judged by that one; the tunnels 6to4 and Teredo, which nobody needs any more, are refused.
/// The lists are the special-purpose registries of IANA; of IPv6 everything but 2000::/3 is refused, so that what is assigned later is refused too.</summary>
public static class AddressRules
{
    private static readonly IPNetwork[] RefusedV4 =
    [
        .. ((string[])["0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24", "192.31.196.0/24", "192.52.193.0/24", "192.88.99.0/24",
            "192.168.0.0/16", "192.175.48.0/24", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4"]).Select(IPNetwork.Parse),
    ];
    private static readonly IPNetwork GlobalV6 = IPNetwork.Parse("2000::/3"), Compatible = IPNetwork.Parse("::/96"), Nat64 = IPNetwork.Parse("64:ff9b::/96");
    private static readonly IPNetwork[] RefusedV6 = [.. ((string[])["2001::/23", "2001:db8::/32", "2002::/16", "2620:4f:8000::/48", "3fff::/20"]).Select(IPNetwork.Parse)];

    public static bool Allows(IPAddress address, IReadOnlyList<IPNetwork> allowed)
    {
        if (address.AddressFamily is not (AddressFamily.InterNetwork or AddressFamily.InterNetworkV6)) return false;
        var judged = Embedded(address);
        if (allowed.Any(network => network.Contains(address) || network.Contains(judged))) return true;
        return judged.AddressFamily == AddressFamily.InterNetwork
            ? !RefusedV4.Any(network => network.Contains(judged))
            : GlobalV6.Contains(judged) && !RefusedV6.Any(network => network.Contains(judged));
    }

    private static IPAddress Embedded(IPAddress address)
    {
        if (address.AddressFamily != AddressFamily.InterNetworkV6) return address;
        if (address.IsIPv4MappedToIPv6) return address.MapToIPv4();
        // ::1 and :: are no IPv4 addresses, but 0.0.0.1 and 0.0.0.0 are refused like them.
        return Compatible.Contains(address) || Nat64.Contains(address) ? new IPAddress(address.GetAddressBytes().AsSpan(12)) : address;
    }
}

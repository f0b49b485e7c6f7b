using System.Net;

namespace Api.Webhooks;

/// <summary>Settings <c>Webhooks__AllowedNetworks</c> (CIDR, separated by commas; none: public addresses only), <c>Webhooks__AllowHttp</c> (false) and
/// <c>Webhooks__DeliveryDays</c> (how long ended deliveries are kept, 30).</summary>
public sealed record WebhookSettings(IReadOnlyList<IPNetwork> AllowedNetworks, bool AllowHttp, int DeliveryDays)
{
    public const int MaxEndpoints = 50;

    public static WebhookSettings Read(IConfiguration configuration)
    {
        var networks = (configuration["Webhooks:AllowedNetworks"] ?? "").Split(',', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries)
            .Select(text => IPNetwork.TryParse(text, out var network) ? network : throw new InvalidOperationException($"Webhooks:AllowedNetworks takes networks such as 10.1.0.0/16, not '{text}'.")).ToList();
        var settings = new WebhookSettings(networks, configuration.GetValue("Webhooks:AllowHttp", false), configuration.GetValue("Webhooks:DeliveryDays", 30));
        return settings.DeliveryDays is >= 1 and <= 3660 ? settings : throw new InvalidOperationException("Webhooks:DeliveryDays takes 1 to 3660.");
    }
}

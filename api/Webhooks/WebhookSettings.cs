namespace Api.Webhooks;

/// <summary>Settings <c>Webhooks__AllowedNetworks</c> (CIDR, separated by commas; none: public addresses only), <c>Webhooks__AllowHttp</c> (false) and
/// <c>Webhooks__DeliveryDays</c> (how long ended deliveries are kept, 30).</summary>
public sealed record WebhookSettings(ConnectionRules Rules, int DeliveryDays)
{
    public const int MaxEndpoints = 50;

    public static WebhookSettings Read(IConfiguration configuration)
    {
        var settings = new WebhookSettings(ConnectionRules.Read(configuration, "Webhooks"), configuration.GetValue("Webhooks:DeliveryDays", 30));
        return settings.DeliveryDays is >= 1 and <= 3660 ? settings : throw new InvalidOperationException("Webhooks:DeliveryDays takes 1 to 3660.");
    }
}

using Api.Webhooks;

namespace Api.Images;

/// <summary>Settings <c>Images__MaxFileBytes</c> (8 GiB), and of downloads <c>Images__AllowedNetworks</c> (CIDR, separated by commas; none: public addresses only) and <c>Images__AllowHttp</c> (false).</summary>
public sealed record ImageSettings(long MaxFileBytes, ConnectionRules Downloads)
{
    /// <summary>Of a project, and of those that are shared.</summary>
    public const int MaxImages = 1000;
    private const long LargestFile = 1L << 40;

    public static ImageSettings Read(IConfiguration configuration)
    {
        var settings = new ImageSettings(configuration.GetValue("Images:MaxFileBytes", 8L << 30), ConnectionRules.Read(configuration, "Images"));
        return settings.MaxFileBytes is >= 1 and <= LargestFile ? settings : throw new InvalidOperationException($"Images:MaxFileBytes takes 1 to {LargestFile}.");
    }
}

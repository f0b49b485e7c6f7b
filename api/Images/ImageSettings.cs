using Api.Webhooks;

namespace Api.Images;

/// <summary>Settings <c>Images__MaxFileBytes</c> (8 GiB), <c>Images__MaxDiskBytes</c> (64 GiB: what a guest sees of a qcow2, and may write on its node), and of downloads <c>Images__AllowedNetworks</c> (CIDR, separated by commas; none: public addresses only) and <c>Images__AllowHttp</c> (false).</summary>
public sealed record ImageSettings(long MaxFileBytes, long MaxDiskBytes, ConnectionRules Downloads)
{
    /// <summary>Of a project, and of those that are shared.</summary>
    public const int MaxImages = 1000;
    private const long LargestFile = 1L << 40;

    public static ImageSettings Read(IConfiguration configuration)
    {
        var settings = new ImageSettings(configuration.GetValue("Images:MaxFileBytes", 8L << 30), configuration.GetValue("Images:MaxDiskBytes", 64L << 30), ConnectionRules.Read(configuration, "Images"));
        if (settings.MaxDiskBytes is < 1 or > LargestFile) throw new InvalidOperationException($"Images:MaxDiskBytes takes 1 to {LargestFile}.");
        return settings.MaxFileBytes is >= 1 and <= LargestFile ? settings : throw new InvalidOperationException($"Images:MaxFileBytes takes 1 to {LargestFile}.");
    }
}

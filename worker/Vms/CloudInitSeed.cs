using System.Globalization;
using System.Text;
using System.Text.RegularExpressions;
using Contracts;

namespace Worker.Vms;

/// <summary>Who a guest is, and what it is told by its disk: the two files of cloud-init's NoCloud data source, which looks for a volume labelled <see cref="Label"/>.</summary>
public sealed record CloudInitSeed(string MetaData, string UserData)
{
    public const string Label = "CIDATA", DirectoryName = "seed", MetaDataName = "meta-data", UserDataName = "user-data";
    /// <summary>Both files must be there, and this one must say nothing.</summary>
    private const string NoUserData = "#cloud-config\n{}\n";

    private static readonly Regex HostName = new(@"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\z", RegexOptions.CultureInvariant);

    /// <summary>Pure. A start of the guest is an instance: its disk is new too. The keys are meta-data, which cloud-init adds to those of any user data,
    /// so the user's text stays as it is, whatever kind it is of. An agent runs it itself: it is not run twice.</summary>
    public static CloudInitSeed For(Guid id, int incarnation, string? name, SandboxSpec spec, bool hasAgent)
    {
        var number = id.ToString("N", CultureInfo.InvariantCulture);
        var meta = new StringBuilder();
        meta.Append(CultureInfo.InvariantCulture, $"instance-id: {Quote($"{number}-{incarnation}")}\n");
        meta.Append(CultureInfo.InvariantCulture, $"local-hostname: {Quote(name is not null && HostName.IsMatch(name) ? name : $"sandbox-{number}")}\n");
        if (spec.SshKeys.Count > 0)
            meta.Append("public-keys:\n").AppendJoin("", spec.SshKeys.Select(key => $"  - {Quote(key)}\n"));
        return new CloudInitSeed(meta.ToString(), hasAgent || string.IsNullOrEmpty(spec.UserData) ? NoUserData : spec.UserData);
    }

    /// <summary>Into the VMM's own directory, for nobody but its user: user data may hold secrets.</summary>
    public void Write(RuntimeDirectory directory, uint? user)
    {
        var folder = Path.Combine(directory.VmmDirectory, DirectoryName);
        Directory.CreateDirectory(folder, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
        foreach (var (name, text) in ((string, string)[])[(MetaDataName, MetaData), (UserDataName, UserData)])
        {
            var path = Path.Combine(folder, name);
            using (var file = new FileStream(path, new FileStreamOptions { Mode = FileMode.CreateNew, Access = FileAccess.Write, UnixCreateMode = UnixFileMode.UserRead | UnixFileMode.UserWrite }))
                file.Write(Encoding.UTF8.GetBytes(text));
            if (user is { } id)
                LibC.Own(path, id);
        }
        if (user is { } owner)
            LibC.Own(folder, owner);
    }

    /// <summary>A scalar of YAML in double quotes. JSON's escapes would not do: it has two for a character outside of the basic plane, which YAML reads as two.</summary>
    internal static string Quote(string text)
    {
        var quoted = new StringBuilder("\"");
        foreach (var rune in text.EnumerateRunes())
            _ = rune.Value switch
            {
                '"' or '\\' => quoted.Append('\\').Append((char)rune.Value),
                >= ' ' and <= '~' => quoted.Append((char)rune.Value),
                _ => quoted.Append(CultureInfo.InvariantCulture, $"\\U{rune.Value:X8}"),
            };
        return quoted.Append('"').ToString();
    }
}

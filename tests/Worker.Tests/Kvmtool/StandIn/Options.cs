namespace StandIn;

/// <summary>The options of lkvm run on arm64.</summary>
internal static class Options
{
    private const int UsageStatus = 129;

    // Long name, short name or none, what it takes or nothing.
    private static readonly (string Name, char? Short, string? Takes)[] Known =
    [
        ("name", null, "guest name"), ("cpus", 'c', "n"), ("mem", 'm', "size[BKMGTP]"), ("disk", 'd', "image or rootfs_dir"), ("balloon", null, null),
        ("vnc", null, null), ("gtk", null, null), ("sdl", null, null), ("rng", null, null), ("nodefaults", null, null), ("9p", null, "dir_to_share,tag_name"),
        ("console", null, "serial, virtio or hv"), ("vsock", null, "guest cid"), ("dev", null, "device_file"), ("tty", null, "tty id"), ("sandbox", null, "script"),
        ("hugetlbfs", null, "path"), ("virtio-transport", null, "pci|mmio"), ("loglevel", null, "[error|warning|info|debug]"), ("kernel", 'k', "kernel"),
        ("initrd", 'i', "initrd"), ("params", 'p', "params"), ("firmware", 'f', "firmware"), ("flash", 'F', "flash"), ("network", 'n', "network params"),
        ("no-dhcp", null, null), ("vfio-pci", null, "[domain:]bus:dev.fn"), ("debug", null, null), ("dump-dtb", null, ".dtb file"), ("pmu", null, null),
        ("irqchip", null, "[gicv2|gicv2m|gicv3|gicv3-its]"),
    ];

    /// <summary>Null with the status when they are not lkvm's.</summary>
    public static IReadOnlyDictionary<string, string>? Parse(IReadOnlyList<string> words, out int status)
    {
        status = UsageStatus;
        var found = new Dictionary<string, string>(StringComparer.Ordinal);
        for (var at = 0; at < words.Count; at++)
        {
            var word = words[at];
            var (name, inline) = word.StartsWith("--", StringComparison.Ordinal) && word.IndexOf('=', StringComparison.Ordinal) is > 0 and var equals
                ? (word[..equals], word[(equals + 1)..]) : (word, null);
            var option = Known.FirstOrDefault(known => name == $"--{known.Name}" || name == $"-{known.Short}");
            if (option.Name is null)
            {
                Console.Error.WriteLine(word.StartsWith("--", StringComparison.Ordinal) ? $"  Error: unknown option `{word[2..]}'" : $"  Error: unknown switch `{word.TrimStart('-')}'");
                status = Usage();
                return null;
            }
            if (option.Takes is null)
                found[option.Name] = "";
            else if (inline is not null)
                found[option.Name] = inline;
            else if (++at < words.Count)
                found[option.Name] = words[at];
            else
            {
                Console.Error.WriteLine($"  Error: option `{option.Name}' requires a value");
                return null;
            }
        }
        return found;
    }

    public static int Usage()
    {
        Console.Error.WriteLine("\n usage: lkvm run [<options>] [<kernel image>]\n");
        foreach (var (name, letter, takes) in Known)
            Console.Error.WriteLine($"    {(letter is { } one ? $"-{one}, " : "    ")}--{name}{(takes is null ? "" : $" <{takes}>"),-20}  What it is");
        return UsageStatus;
    }
}

namespace Api.Data;

/// <summary>How the database is reached: as text in the settings, or in a file, so that no environment holds the password.</summary>
public static class ConnectionText
{
    public const string Setting = "Sandbox", FileSetting = "SandboxFile";

    /// <summary>Throws where neither or both are given, and where the file is empty.</summary>
    public static string Choose(string? text, string? file, Func<string, string> read)
    {
        if (string.IsNullOrWhiteSpace(text) == string.IsNullOrWhiteSpace(file))
            throw new InvalidOperationException("Set either ConnectionStrings__Sandbox, or ConnectionStrings__SandboxFile to the path of a file that holds the same.");
        if (string.IsNullOrWhiteSpace(file))
            return text!;
        var held = read(file).Trim();
        return held.Length > 0 ? held : throw new InvalidOperationException($"{file}, which ConnectionStrings__SandboxFile names, is empty.");
    }
}

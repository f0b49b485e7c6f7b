using Api.Events;
using Api.Sandboxes;
using Contracts;

namespace Api.Webhooks;

/// <summary>The limits of requests about endpoints. Pure: the field's name to what it takes, empty when all is well.</summary>
public static class WebhookValidation
{
    public const int MaxDescription = 500, MaxOverlapSeconds = 604_800, DefaultOverlapSeconds = 86_400;

    public static Dictionary<string, string[]> Check(WebhookCreate create, WebhookSettings settings)
    {
        var errors = Check(new WebhookPatch(create.Url, create.Description, create.Types, create.Labels, null), settings);
        if (create.Url is null) errors["url"] = ["is required"];
        CheckSecret(create.Secret, errors);
        return errors;
    }

    public static Dictionary<string, string[]> Check(WebhookPatch patch, WebhookSettings settings)
    {
        var errors = new Dictionary<string, string[]>();
        if (patch.Url is not null && GuardedUrl.Problem(patch.Url, settings.Rules) is { } url) errors["url"] = [url];
        if (patch.Description is { Length: > MaxDescription } || patch.Description?.Any(char.IsControl) is true) errors["description"] = [$"takes at most {MaxDescription} characters, none of them control characters"];
        if (EventFilter.Problem(patch.Types) is { } types) errors["types"] = [types];
        SandboxValidation.CheckLabels(patch.Labels, (field, message) => errors[field] = [message]);
        return errors;
    }

    public static Dictionary<string, string[]> Check(WebhookRotate? rotate)
    {
        var errors = new Dictionary<string, string[]>();
        if (rotate?.OverlapSeconds is < 0 or > MaxOverlapSeconds) errors["overlapSeconds"] = [$"takes 0 to {MaxOverlapSeconds}, not {rotate.OverlapSeconds}"];
        CheckSecret(rotate?.Secret, errors);
        return errors;
    }

    private static void CheckSecret(string? secret, Dictionary<string, string[]> errors)
    {
        if (secret is not null && WebhookSecret.Key(secret) is null) errors["secret"] = [$"takes {WebhookSecret.Prefix} and {WebhookSecret.MinBytes} to {WebhookSecret.MaxBytes} bytes in base64"];
    }
}
